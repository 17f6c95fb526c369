"""DuckDB for one opened output: it reads that file and a temporary folder, fetches nothing, and keeps within its memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

MEMORY_LIMIT = "320MB"
"""Beyond it, DuckDB keeps its pages in the temporary folder."""


class Database:
    """A database in memory. `file` is the output in SQL, with `file_row_number` as the number of each row."""

    def __init__(self, parquet: Path) -> None:
        self.file = f"read_parquet({quoted(str(parquet))}, file_row_number=true, hive_partitioning=false)"
        self._folder = tempfile.TemporaryDirectory(prefix="narratives-review-", ignore_cleanup_errors=True)
        # No extension is ever fetched, and no file but the output and the temporary folder is opened.
        self._db = duckdb.connect(
            config={
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "temp_directory": self._folder.name,
                "memory_limit": MEMORY_LIMIT,
            }
        )
        self._db.execute(f"SET allowed_paths = [{quoted(str(parquet))}]")
        self._db.execute(f"SET allowed_directories = [{quoted(self._folder.name)}]")
        self._db.execute("SET enable_external_access = false")

    @property
    def folder(self) -> Path:
        """Where tables may be kept on disk until `close`."""
        return Path(self._folder.name)

    @contextmanager
    def connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection of its own for each question, since they come from several threads."""
        with self._db.cursor() as db:
            db.execute("SET enable_progress_bar = false")  # it would be drawn over the command's output
            yield db

    def interrupt(self) -> None:
        """End what the database is doing."""
        self._db.interrupt()

    def close(self) -> None:
        self._db.close()
        self._folder.cleanup()


def quoted(text: str) -> str:
    """A text as SQL."""
    return "'" + text.replace("'", "''") + "'"
