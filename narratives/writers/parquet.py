"""Parquet with zstd; row groups sized for DuckDB and polars, which read them in parallel."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from narratives.writers.table import schema

ROW_GROUP_ROWS = 65_536


class ParquetWriter:
    def __init__(self, path: Path, labels: tuple[str, ...]) -> None:
        self._schema = schema(labels)
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._pending: list[pa.RecordBatch] = []
        self._n_pending = 0

    def write(self, batch: pa.RecordBatch) -> None:
        self._pending.append(batch)
        self._n_pending += batch.num_rows
        if self._n_pending >= ROW_GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._pending:
            self._writer.write_table(pa.Table.from_batches(self._pending, self._schema), row_group_size=self._n_pending)
        self._pending, self._n_pending = [], 0

    def close(self) -> None:
        self._flush()
        self._writer.close()
