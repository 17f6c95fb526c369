"""An output of `narratives score`, opened: its columns, its rows, as they stand in the file or in their types, and the manifest beside it.

What a row means is for those who ask: `report/rows.py` counts them, `review/rows.py` shows them, `exports/convert.py` writes them again.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, TypedDict

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from narratives import plugins, records
from narratives.errors import InputError, RecordError
from narratives.readers.fields import parse_count, parse_labels, parse_time
from narratives.records import STANCES, Stance, probability_column
from narratives.writers.delimited import plain_cell

_BATCH_ROWS = 2048
_MAX_CELL_CHARACTERS = 2**24

Record = dict[str, object]
"""A row as it stands in the file: typed values of Parquet and JSON, or the cells of CSV as text, None where empty."""


class EvidenceCell(TypedDict):
    """`records.Evidence` with its words; None where the file has them not."""

    label: str
    start: int
    end: int
    weight: float
    text: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRow:
    """A row in the types of its columns; times are UTC. `probabilities` has every label and every stance, with None where it is unknown."""

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
    evidence: Sequence[EvidenceCell]
    truncated: bool
    screened: bool
    model: str | None
    probabilities: Mapping[str, float | None]

    def columns(self) -> dict[str, Any]:
        """Its cells by their columns, as writers take them."""
        cells: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(ScoredRow)}
        return cells | {probability_column(name): value for name, value in cells.pop("probabilities").items()}


@dataclass(frozen=True, slots=True)
class ScoredFile:
    """`format` is parquet, jsonl or csv; `columns` are those of the file, whatever they are: see `require`."""

    path: Path
    format: str
    columns: tuple[str, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that it has a probability of.

        Raises:
            InputError: a column is named like a probability, of what cannot be a label.
        """
        return records.labels_of(self.columns, self.path)

    def require(self, names: Iterable[str]) -> None:
        """Refuse a file without these columns.

        Raises:
            InputError: one is missing; says which, and what was found.
        """
        if missing := [name for name in names if name not in self.columns]:
            raise InputError(
                self.path,
                f"has no column {', '.join(missing[:8])}; found {', '.join(self.columns[:12]) or 'none'}. "
                "Give the output of `narratives score`.",
            )

    def require_all(self) -> tuple[str, ...]:
        """Refuse a file that lacks any column of an output, or has no label; give its labels.

        Raises:
            InputError: as `labels` and `require`.
        """
        labels = self.labels
        self.require(records.column_names(labels or ("<label>",)))
        return labels

    def records(self) -> Iterator[Record]:
        """Its rows in order, in constant memory.

        Raises:
            InputError: the file breaks off.
            RecordError: a line is no JSON object.
        """
        return _FORMATS[self.format].records(self.path)

    def rows(self) -> Iterator[ScoredRow]:
        """Its rows in the types of their columns, in order, in constant memory.

        Raises:
            InputError: as `labels` and `records`.
            RecordError: as `records`, or a row holds what no output does; its line is the number of the row, from 1.
        """
        labels = self.labels
        for number, record in enumerate(self.records(), start=1):
            try:
                row = typed(record, labels)
            except (ValueError, TypeError, KeyError, OverflowError) as error:
                raise RecordError(self.path, number, None, f"is no row of `narratives score`: {error}") from error
            yield row


def typed(record: Record, labels: Sequence[str]) -> ScoredRow:
    """A row in the types of its columns, the same from each format; a column that is not there is unknown.

    Raises:
        ValueError, TypeError, KeyError, OverflowError: it holds what no output does.
    """

    def words(name: str) -> str | None:
        value = record.get(name)
        return None if value is None else str(value)

    def count(name: str) -> int | None:
        value = record.get(name)
        return None if value is None else parse_count(value)

    def instant(name: str) -> datetime | None:
        value = record.get(name)
        return None if value is None else parse_time(value)

    def probability(name: str) -> float | None:
        value = record.get(probability_column(name))
        return value if value is None or isinstance(value, float) else float(str(value))

    def flag(name: str) -> bool:
        return str(record.get(name)).lower() == "true"  # a spreadsheet writes TRUE

    text, stance = record.get("text") or "", record.get("stance")
    if not isinstance(text, str):
        raise ValueError('field "text" is no text')
    return ScoredRow(
        id=words("id"),
        text=text,
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
        evidence=_evidence(record.get("evidence")),
        truncated=flag("truncated"),
        screened=flag("screened"),
        model=words("model"),
        probabilities={name: probability(name) for name in (*labels, *STANCES)},
    )


def _evidence(value: object) -> list[EvidenceCell]:
    items = orjson.loads(value) if isinstance(value, str) else value or []
    if not isinstance(items, list):
        raise ValueError('field "evidence" is no list')
    return [
        {"label": str(e["label"]), "start": int(e["start"]), "end": int(e["end"]), "weight": float(e["weight"]), "text": e.get("text")}
        for e in items
    ]


def open_scored(path: str | Path, *, format: str | None = None) -> ScoredFile:
    """Open a file that `narratives score` wrote.

    Args:
        format: parquet, jsonl or csv; None: by the ending.

    Raises:
        InputError: no such file, another ending, or a beginning that is not of that format.
        RecordError: the first line is no JSON object.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(path, ("is a folder" if path.is_dir() else "no such file") + "; give an output of `narratives score`")
    format = format or plugins.by_suffix(plugins.WRITERS, path.suffix)
    if format is None or format not in _FORMATS:
        raise InputError(path, f"{path.suffix!r} cannot be read back; give the .parquet, .jsonl or .csv of `narratives score`")
    return ScoredFile(path, format, _FORMATS[format].columns(path))


def parquet_batches(path: Path, *, n_rows: int = _BATCH_ROWS, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of a Parquet file, `n_rows` at a time; of all columns, or of these.

    Raises:
        InputError: it is no Parquet file, or breaks off.
    """
    with _reading_parquet(path), pq.ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=n_rows, columns=None if columns is None else list(columns))


def read_manifest(path: Path) -> dict[str, Any] | None:
    """What stands in the manifest beside an output; None where there is none.

    Raises:
        InputError: it is no JSON object.
    """
    beside = manifest_path(path)
    try:
        value = json.loads(beside.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(beside, f"is no readable manifest: {error}. Move it away to go on without it.") from error
    if not isinstance(value, dict):
        raise InputError(beside, "is no manifest: expected a JSON object. Move it away to go on without it.")
    return value


def manifest_path(path: Path) -> Path:
    return path.with_name(f"{path.stem}.manifest.json")


# ---- formats ----------------------------------------------------------------------------------------------------------


@contextmanager
def _reading_parquet(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            path, f"is no readable Parquet file ({error}); expected one that `narratives score -o out.parquet` wrote"
        ) from error


def _parquet_columns(path: Path) -> tuple[str, ...]:
    with _reading_parquet(path), pq.ParquetFile(path) as file:
        return tuple(file.schema_arrow.names)


def _parquet_records(path: Path) -> Iterator[Record]:
    for batch in parquet_batches(path):
        yield from batch.to_pylist()


def _jsonl_columns(path: Path) -> tuple[str, ...]:
    first = next(_jsonl_records(path), None)
    if first is None:
        raise InputError(path, "holds no rows")
    return tuple(first)


def _jsonl_records(path: Path) -> Iterator[Record]:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                record = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise RecordError(path, number, None, f"is no JSON: {error}") from error
            if not isinstance(record, dict):
                raise RecordError(path, number, None, f"holds {type(record).__name__}, expected an object")
            yield record


def _csv_columns(path: Path) -> tuple[str, ...]:
    with _csv(path) as reader:
        return tuple(reader.fieldnames or ())


def _csv_records(path: Path) -> Iterator[Record]:
    with _csv(path) as reader:
        for row in reader:
            # Under None stand the cells of a row that is too long.
            yield {name: plain_cell(cell) if cell else None for name, cell in row.items() if name is not None}


@contextmanager
def _csv(path: Path) -> Iterator[csv.DictReader[str]]:
    previous = csv.field_size_limit(_MAX_CELL_CHARACTERS)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            yield csv.DictReader(stream)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, f"is no readable CSV: {error}") from error
    finally:
        csv.field_size_limit(previous)


@dataclass(frozen=True, slots=True)
class _Format:
    columns: Callable[[Path], tuple[str, ...]]
    records: Callable[[Path], Iterator[Record]]


_FORMATS: Mapping[str, _Format] = {
    "parquet": _Format(_parquet_columns, _parquet_records),
    "jsonl": _Format(_jsonl_columns, _jsonl_records),
    "csv": _Format(_csv_columns, _csv_records),
}
