"""Parquet, one row group at a time; our own outputs can be read again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from narratives.errors import InputError, RecordError
from narratives.readers.fields import match_columns, post_from_fields
from narratives.records import Post, RejectedRecord

_BATCH_ROWS = 2048
_BUFFER_BYTES = 2**20
"""Read ahead of each column; without it a row group's columns are held whole."""


def read(path: Path, *, text_column: str | None = None) -> Iterator[Post | RejectedRecord]:
    """Posts of the file; only the columns a post needs are read. `line` of a rejected record is its row, from 1."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path, buffer_size=_BUFFER_BYTES)
        names = file.schema_arrow.names
    except (pa.ArrowInvalid, pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(path, f"is no readable Parquet file: {error}") from error
    with file:
        columns = match_columns(names, text_column, path)
        wanted = sorted({name for names in columns.values() for name in names})
        number = 0
        try:
            for batch in _batches(file, wanted):
                for record in _rows(batch):
                    number += 1
                    try:
                        post, notes = post_from_fields(record, columns, path, number)
                    except RecordError as error:
                        yield RejectedRecord.from_error(error, repr(record))
                        continue
                    yield post
                    yield from notes
        except (pa.ArrowInvalid, pa.ArrowException, OSError, UnicodeDecodeError) as error:
            yield RejectedRecord(str(path), number + 1, None, f"the file breaks off: {error}")


def _batches(file: Any, columns: list[str]) -> Iterator[Any]:
    """Batches of one row group after another; what a group took is given back, or memory grows with the file."""
    import pyarrow as pa

    for group in range(file.num_row_groups):
        yield from file.iter_batches(batch_size=_BATCH_ROWS, row_groups=[group], columns=columns, use_threads=False)
        pa.default_memory_pool().release_unused()


def _rows(batch: Any) -> list[dict[str, object]]:
    """A batch's rows; text that is not UTF-8, which careless writers let pass, is mended."""
    import pyarrow as pa

    try:
        rows: list[dict[str, object]] = batch.to_pylist()
    except UnicodeDecodeError:
        columns = [c.view(pa.binary()) if pa.types.is_string(c.type) else c for c in batch.columns]
        values = [[v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in column.to_pylist()] for column in columns]
        rows = [dict(zip(batch.schema.names, row, strict=True)) for row in zip(*values, strict=True)]
    return rows
