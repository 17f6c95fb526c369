"""Parquet with a column of labels: lists, or strings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from narratives.errors import InputError
from narratives.training.loaders import Columns, Row
from narratives.training.loaders.record import row_of


def rows(path: Path, columns: Columns) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=1024):
                for record in batch.to_pylist():
                    number += 1
                    yield row_of(record, columns, path, number)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(path, f"is no readable Parquet file: {error}") from error
