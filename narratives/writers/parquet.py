"""Parquet with zstd; row groups sized for DuckDB and polars, which read them in parallel (docs/scaling.md has queries)."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from narratives.writers.table import schema

ROW_GROUP_ROWS = 122_880
"""DuckDB's own size: it hands out whole row groups to its threads, and skips them by their statistics."""
ROW_GROUP_BYTES = 160 * 2**20
"""In memory. A row group waits here until it is whole; posts of a hundred thousand characters must not make it gigabytes."""


class ParquetWriter:
    def __init__(self, path: Path, labels: tuple[str, ...]) -> None:
        self._schema = schema(labels)
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._pending: list[pa.RecordBatch] = []
        self._n_pending = 0
        self._n_bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        while batch.num_rows:
            taken = batch.slice(0, ROW_GROUP_ROWS - self._n_pending)
            self._pending.append(taken)
            self._n_pending += taken.num_rows
            self._n_bytes += taken.nbytes
            if self._n_pending == ROW_GROUP_ROWS or self._n_bytes >= ROW_GROUP_BYTES:
                self._flush()
            batch = batch.slice(taken.num_rows)

    def _flush(self) -> None:
        if self._pending:
            self._writer.write_table(pa.Table.from_batches(self._pending, self._schema), row_group_size=self._n_pending)
        self._pending, self._n_pending, self._n_bytes = [], 0, 0

    def close(self) -> None:
        self._flush()
        self._writer.close()
