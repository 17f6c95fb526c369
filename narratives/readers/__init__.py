"""Readers: each turns one file into a stream of posts, and of records that could not be read.

`read_posts` finds the format and calls the leaf. Every leaf is one function
`read(path, *, text_column=None) -> Iterator[Post | RejectedRecord]`; a broken record is yielded as a `RejectedRecord` and
the stream goes on. Memory does not grow with the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from narratives import plugins
from narratives.errors import InputError
from narratives.readers.sniff import detect_format
from narratives.records import Post, RejectedRecord

__all__ = ["detect_format", "read_posts"]


def read_posts(path: str | Path, *, format: str = "auto", text_column: str | None = None) -> Iterator[Post | RejectedRecord]:
    """Stream the posts of a file, in its order.

    Args:
        path: the file; gzip and zstd are opened by their first bytes.
        format: a name of `plugins.READERS`, or "auto" to look into the file.
        text_column: the column or field that holds the text, where it has an unusual name.

    Raises:
        InputError: the file is absent, empty, or in no known format.
        UnknownName: no reader has that name.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(path, "is a folder; give one file, for example its result.json")
    if not path.is_file():
        raise InputError(path, "no such file")
    name = detect_format(path) if format == "auto" else format
    read = plugins.load("format", plugins.READERS, name)
    yield from read(path, text_column=text_column)
