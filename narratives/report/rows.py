"""The rows of an output of `narratives score`, one at a time, whichever of the three formats it is in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from narratives.errors import InputError
from narratives.records import Evidence, Stance
from narratives.scored import ScoredRow, open_scored

_NEEDED = ("id", "text", "labels", "stance")


@dataclass(frozen=True, slots=True)
class Row:
    """One scored post. `number` counts rows from 0; `probabilities` are those of labels (not of stances), empty where screened;
    `stance_probability` is that of its own stance."""

    number: int
    id: str | None
    text: str
    channel: str | None
    published_at: datetime | None
    url: str | None
    views: int | None
    forwards: int | None
    forwarded_from: str | None
    forwarded_at: datetime | None
    language: str | None
    labels: tuple[str, ...]
    stance: Stance | None
    stance_probability: float | None
    probabilities: Mapping[str, float]
    evidence: tuple[Evidence, ...]
    truncated: bool
    screened: bool
    model: str


def read_rows(path: Path) -> Iterator[Row]:
    """Rows of a Parquet, JSON lines or CSV output, in order, in constant memory.

    Raises:
        InputError: no such file, not one of our outputs, or it breaks off.
        RecordError: a row holds what no output of ours does.
    """
    file = open_scored(path)
    file.require(_NEEDED)
    labels = file.labels
    number = -1
    for number, row in enumerate(file.rows()):
        yield _row(number, row, labels)
    if number < 0:
        raise InputError(path, "holds no rows")


def _row(number: int, row: ScoredRow, labels: Sequence[str]) -> Row:
    cells, stance = row.cells, row.cells["stance"]
    return Row(
        number=number,
        id=cells["id"] or None,
        text=cells["text"],
        channel=cells["channel"] or None,
        published_at=cells["published_at"],
        url=cells["url"] or None,
        views=cells["views"],
        forwards=cells["forwards"],
        forwarded_from=cells["forwarded_from"] or None,
        forwarded_at=cells["forwarded_at"],
        language=cells["language"] or None,
        labels=cells["labels"],
        stance=stance,
        stance_probability=None if stance is None else row.probabilities[stance],
        probabilities={label: known for label in labels if (known := row.probabilities[label]) is not None},
        evidence=tuple(Evidence(e["label"], e["start"], e["end"], e["weight"]) for e in cells["evidence"]),
        truncated=cells["truncated"],
        screened=cells["screened"],
        model=cells["model"] or "",
    )
