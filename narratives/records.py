"""The values that flow through the program, and the only place where an output column is named.

A reader makes a `Post`; the scorer wraps it in a `Prediction` (which carries its post, so nothing downstream joins);
a writer turns a `Prediction` into a row with `to_row`, of the columns that `column_names` lists. Unknown is `None`,
never 0 or "".
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Literal

from narratives.errors import InputError, RecordError

__all__ = ["STANCES", "Evidence", "Post", "Prediction", "RejectedRecord", "Stance", "column_names", "labels_of", "to_row"]

Stance = Literal["endorses", "reports", "refutes"]
STANCES: tuple[Stance, ...] = ("endorses", "reports", "refutes")
"""What an author does with a narrative: spreads it, says that others claim it, or denies it. Order of all stance arrays."""


@dataclass(frozen=True, slots=True)
class Post:
    """One message as its readers saw it.

    `published_at` carries a time zone (UTC where the source gave an instant). `views` and `forwards` are counts at the
    time of the export. `labels` is `None` where nobody annotated the post and an empty tuple where somebody found nothing.
    `forwarded_at` is when the original of a forward appeared, as the forward says. `language` is what the file says (`kk-latn` too in
    annotated data); it is not output.
    """

    text: str
    id: str | None = None
    channel: str | None = None
    published_at: datetime | None = None
    url: str | None = None
    views: int | None = None
    forwards: int | None = None
    forwarded_from: str | None = None
    forwarded_at: datetime | None = None
    language: str | None = None
    labels: tuple[str, ...] | None = None
    stance: Stance | None = None
    group: str | None = None
    """Event or theme, in annotated data: posts of one group never stand on both sides of a split."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A sentence that carries a label: `post.text[start:end]`, with its share of the label's evidence.

    `weight` is in [0, 1]; the weights of one label in one post sum to at most 1.
    """

    label: str
    start: int
    end: int
    weight: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one post.

    `labels` are those whose probability reaches their threshold, strongest first (by how far it exceeds it).
    `stance` is `None` where there is no label, or where the bundle was trained without stances. `language` is what was detected: ru, kk,
    mixed or other (`text/language.py`). `truncated` is true only where text was left unread, which happens beyond
    `ScoreConfig.max_windows` windows. `screened` is true where the screen found that the post surely carries nothing, so that the encoder
    did not read it: it then has no label, no stance and no probabilities (both mappings are empty).
    """

    post: Post
    labels: tuple[str, ...]
    probabilities: Mapping[str, float]
    stance: Stance | None
    stance_probabilities: Mapping[str, float]
    evidence: tuple[Evidence, ...] = ()
    language: str | None = None
    truncated: bool = False
    screened: bool = False
    model: str = ""


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A record, or one field of it, that could not be read: kept with its place and the reason, so that nothing is lost.

    `line` is the line or record number, from 1; 0 where only the id is known, which the reason then gives.
    `record` is the raw record as text, at most `MAX_RECORD_CHARACTERS` of it. `post_kept` is true where only a field
    other than the text was unreadable: the post itself is scored, with that field unknown.
    """

    path: str
    line: int
    field: str | None
    reason: str
    record: str = dataclasses.field(default="", repr=False)
    post_kept: bool = False

    MAX_RECORD_CHARACTERS: ClassVar[int] = 10_000

    @classmethod
    def from_error(cls, error: RecordError, record: str = "") -> RejectedRecord:
        return cls(error.path, error.line, error.field, error.reason, record[: cls.MAX_RECORD_CHARACTERS])


PLACE_ID = r"(?s:.*:)?row[0-9]+"
"""What `place_id` gives, as a regular expression to match in full; Python and DuckDB read it alike."""

_PLACE_ID = re.compile(PLACE_ID)


def place_id(position: int, prefix: str = "") -> str:
    """The id of a post that has none of its own: its position in its file, from 1, behind a prefix that tells the file.

    It says where a post stands, not which post it is: the same posts in another order have other ones.
    """
    return f"{prefix}row{position}"


def is_place_id(post_id: str) -> bool:
    """Whether an id is one of `place_id`, so that it does not tell which post it is."""
    return _PLACE_ID.fullmatch(post_id) is not None


# The columns of every output, in this order; p_<label> and p_<stance> stand where `column_names` puts them.
_POST_COLUMNS = (
    "id", "text", "channel", "published_at", "url", "views", "forwards", "forwarded_from", "forwarded_at",
)  # fmt: skip


def probability_column(name: str) -> str:
    """The column of a label's or stance's probability."""
    return f"p_{name}"


_LABEL_ID = re.compile(r"[a-z][a-z0-9_]{0,62}")  # a taxonomy's own pattern; a test holds the two together


def labels_of(columns: Iterable[str], path: str | Path) -> tuple[str, ...]:
    """The labels of an output, from the names of its columns.

    A file is not ours only because its columns look like it: names become SQL, file names and HTML, so that no other characters pass than
    a taxonomy's ids may have.

    Raises:
        InputError: a column is named like a probability, of what cannot be a label.
    """
    labels = tuple(name[2:] for name in columns if name.startswith("p_") and name[2:] not in STANCES)
    for label in labels:
        if not _LABEL_ID.fullmatch(label):
            raise InputError(
                path,
                f"has a column {f'p_{label}'[:80]!r}, which is no label's; expected p_ and lower-case letters, digits and _, at most 63, "
                "letter first. Give the output of `narratives score`.",
            )
    return labels


def column_names(labels: Sequence[str]) -> tuple[str, ...]:
    """All output columns for a model with these labels, in order."""
    return (
        *_POST_COLUMNS,
        "language",
        "labels",
        "stance",
        *(probability_column(label) for label in labels),
        *(probability_column(stance) for stance in STANCES),
        "evidence",
        "truncated",
        "screened",
        "model",
    )


Cell = None | str | int | float | bool | datetime | list[str] | list[dict[str, object]]


def to_row(prediction: Prediction, labels: Sequence[str]) -> dict[str, Cell]:
    """One output row, keys as `column_names(labels)`; `labels` and `evidence` are lists, times are UTC."""
    post = prediction.post
    row: dict[str, Cell] = {name: getattr(post, name) for name in _POST_COLUMNS}
    for name, instant in (("published_at", post.published_at), ("forwarded_at", post.forwarded_at)):
        if instant is not None:
            row[name] = instant.astimezone(UTC)
    row["language"] = prediction.language
    row["labels"] = list(prediction.labels)
    row["stance"] = prediction.stance
    for label in labels:
        row[probability_column(label)] = prediction.probabilities.get(label)
    for stance in STANCES:
        row[probability_column(stance)] = prediction.stance_probabilities.get(stance)
    row["evidence"] = [
        {"label": e.label, "start": e.start, "end": e.end, "weight": e.weight, "text": post.text[e.start : e.end]}
        for e in prediction.evidence
    ]
    row["truncated"] = prediction.truncated
    row["screened"] = prediction.screened
    row["model"] = prediction.model
    return row
