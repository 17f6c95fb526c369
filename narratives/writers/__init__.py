"""Writers: each turns the scored rows into one file. Rows come as Arrow record batches, so every format streams.

Every leaf is one class with `__init__(path, labels)`, `write(batch)` and `close()`; the columns are those of
`records.column_names`, in `table.schema`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import pyarrow as pa


class Writer(Protocol):
    """Writes to `path`, which it creates; the file is whole once `close` returned."""

    def __init__(self, path: Path, labels: tuple[str, ...]) -> None: ...

    def write(self, batch: pa.RecordBatch) -> None: ...

    def close(self) -> None: ...
