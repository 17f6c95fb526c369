"""Parquet, one row group at a time; our own outputs can be read again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from narratives.errors import InputError, RecordError
from narratives.readers.fields import match_columns, post_from_fields
from narratives.records import Post, RejectedRecord

_BATCH_ROWS = 2048


def read(path: Path, *, text_column: str | None = None) -> Iterator[Post | RejectedRecord]:
    """Posts of the file; only the columns a post needs are read. `line` of a rejected record is its row, from 1."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, pa.ArrowException, OSError) as error:
        raise InputError(path, f"is no readable Parquet file: {error}") from error
    with file:
        columns = match_columns(file.schema_arrow.names, text_column, path)
        wanted = sorted({name for names in columns.values() for name in names})
        number = 0
        try:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=wanted):
                for record in batch.to_pylist():
                    number += 1
                    try:
                        post, notes = post_from_fields(record, columns, path, number)
                    except RecordError as error:
                        yield RejectedRecord.from_error(error, repr(record))
                        continue
                    yield post
                    yield from notes
        except (pa.ArrowInvalid, pa.ArrowException, OSError) as error:
            yield RejectedRecord(str(path), number + 1, None, f"the file breaks off: {error}")
