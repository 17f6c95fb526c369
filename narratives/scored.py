"""An output of `narratives score`, opened: its columns, its rows as they stand in the file, and the manifest beside it.

What a row means is for those who ask: `report/rows.py` counts them, `review/rows.py` shows them, `exports/convert.py` writes them again.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from narratives import plugins, records
from narratives.errors import InputError, RecordError
from narratives.writers.delimited import plain_cell

_BATCH_ROWS = 2048
_MAX_CELL_CHARACTERS = 2**24

Record = dict[str, object]
"""A row: typed values of Parquet and JSON, or the cells of CSV as text, None where empty."""


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
