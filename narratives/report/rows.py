"""The rows of an output of `narratives score`, one at a time, whichever of the three formats it is in."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import orjson

from narratives.errors import InputError, RecordError
from narratives.readers.fields import parse_count, parse_labels, parse_time
from narratives.records import STANCES, Evidence, Stance, labels_of
from narratives.writers.delimited import plain_cell

_NEEDED = ("id", "text", "labels", "stance")
_BATCH_ROWS = 2048
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
    if not path.is_file():
        raise InputError(path, "no such file; give an output of `narratives score`")
    records = {".parquet": _parquet, ".pq": _parquet, ".jsonl": _json_lines, ".ndjson": _json_lines, ".csv": _delimited}.get(
        path.suffix.lower()
    )
    if records is None:
        raise InputError(path, f"unknown ending {path.suffix!r}; expected .parquet, .jsonl or .csv, as `narratives score` writes")
    number = 0
    for number, record in enumerate(records(path), start=1):
        yield _row(record, path, number)
    if not number:
        raise InputError(path, "holds no rows")


@lru_cache(maxsize=64)
def label_ids(names: tuple[str, ...], path: Path) -> tuple[str, ...]:
    """The labels of an output, from the names of its columns; kept, for every row asks.

    Raises:
        InputError: a column is named like a probability, of what cannot be a label.
    """
    return labels_of(names, path)


def _parquet(path: Path) -> Iterator[dict[str, object]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            _check(path, file.schema_arrow.names)
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                yield from batch.to_pylist()
    except (pa.ArrowInvalid, pa.ArrowException, OSError) as error:
        raise InputError(path, f"is no readable Parquet file: {error}") from error


def _json_lines(path: Path) -> Iterator[dict[str, object]]:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                record = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise RecordError(path, number, None, f"not valid JSON: {error}") from error
            if not isinstance(record, dict):
                raise RecordError(path, number, None, f"holds {type(record).__name__}, expected an object")
            if number == 1:
                _check(path, list(record))
            yield record


def _delimited(path: Path) -> Iterator[dict[str, object]]:
    limit = csv.field_size_limit(sys.maxsize)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            _check(path, reader.fieldnames or [])
            for record in reader:
                yield {name: _plain(value) for name, value in record.items()}
    finally:
        csv.field_size_limit(limit)


def _plain(cell: object) -> object:
    """A cell as it was before `writers.delimited.safe_cell` guarded it."""
    return plain_cell(cell) if isinstance(cell, str) and cell else None


def _check(path: Path, names: object) -> None:
    found = [str(name) for name in names] if isinstance(names, list | tuple) else []
    if missing := [name for name in _NEEDED if name not in found]:
        raise InputError(
            path, f"is no output of `narratives score`: no column {', '.join(missing)}; found {', '.join(found[:12]) or 'none'}"
        )


def _row(record: Mapping[str, object], path: Path, number: int) -> Row:
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
            probabilities={i: float(str(record[_PREFIX + i])) for i in label_ids(tuple(record), path) if record[_PREFIX + i] is not None},
            evidence=_evidence(record.get("evidence")),
            truncated=str(record.get("truncated")).lower() == "true",
            screened=str(record.get("screened")).lower() == "true",
            model=words("model") or "",
        )
    except InputError:
        raise
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise RecordError(path, number, None, f"is no row of `narratives score`: {error}") from error


def _evidence(value: object) -> tuple[Evidence, ...]:
    items = orjson.loads(value) if isinstance(value, str) else value
    if not isinstance(items, list):
        return ()
    return tuple(Evidence(str(e["label"]), int(e["start"]), int(e["end"]), float(e["weight"])) for e in items)
