"""JSON lines: one object a row, times in ISO 8601, lists as lists."""

from __future__ import annotations

from pathlib import Path

import orjson
import pyarrow as pa


class JsonlWriter:
    def __init__(self, path: Path, labels: tuple[str, ...]) -> None:
        self._stream = path.open("wb")

    def write(self, batch: pa.RecordBatch) -> None:
        self._stream.writelines(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z) for row in batch.to_pylist())

    def close(self) -> None:
        self._stream.close()
