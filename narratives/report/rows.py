"""The rows of an output of `narratives score`, one at a time, whichever of the three formats it is in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson

from narratives.errors import InputError, RecordError
from narratives.readers.fields import parse_count, parse_labels, parse_time
from narratives.records import STANCES, Evidence, Stance
from narratives.scored import open_scored

_NEEDED = ("id", "text", "labels", "stance")
_PREFIX = "p_"


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
    number = 0
    for number, record in enumerate(file.records(), start=1):
        yield _row(record, labels, path, number)
    if not number:
        raise InputError(path, "holds no rows")


def _row(record: Mapping[str, object], labels: tuple[str, ...], path: Path, number: int) -> Row:
    def instant(name: str) -> datetime | None:
        value = record.get(name)
        return None if value is None else parse_time(value).astimezone(UTC)

    def count(name: str) -> int | None:
        value = record.get(name)
        return None if value is None else parse_count(value)

    def words(name: str) -> str | None:
        value = record.get(name)
        return None if value is None or value == "" else str(value)

    try:
        stance = record.get("stance")
        return Row(
            number=number - 1,
            id=words("id"),
            text=str(record.get("text") or ""),
            channel=words("channel"),
            published_at=instant("published_at"),
            url=words("url"),
            views=count("views"),
            forwards=count("forwards"),
            forwarded_from=words("forwarded_from"),
            forwarded_at=instant("forwarded_at"),
            language=words("language"),
            labels=parse_labels(record.get("labels") or ()),
            stance=stance if stance in STANCES else None,
            stance_probability=float(str(record[_PREFIX + str(stance)])) if record.get(_PREFIX + str(stance)) is not None else None,
            probabilities={i: float(str(record[_PREFIX + i])) for i in labels if record.get(_PREFIX + i) is not None},
            evidence=_evidence(record.get("evidence")),
            truncated=str(record.get("truncated")).lower() == "true",
            screened=str(record.get("screened")).lower() == "true",
            model=words("model") or "",
        )
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise RecordError(path, number, None, f"is no row of `narratives score`: {error}") from error


def _evidence(value: object) -> tuple[Evidence, ...]:
    items = orjson.loads(value) if isinstance(value, str) else value
    if not isinstance(items, list):
        return ()
    return tuple(Evidence(str(e["label"]), int(e["start"]), int(e["end"]), float(e["weight"])) for e in items)
