"""Opening a file: compression by its first bytes, encoding by its content, lines of bounded length."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO, cast

import zstandard

from narratives.errors import InputError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

MAX_RECORD_BYTES = 16 * 2**20
"""A longer line or JSON object is rejected whole: no post is 16 MB, and memory must not follow a hostile file."""
_SAMPLE_BYTES = 2**20
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

MAX_EXPANSION = 1000
"""Bytes that one compressed byte may become. Posts give 3 to 20; gzip itself can do 1,032, zstd more."""
_BOMB_BYTES = 2**30
"""Expansion is looked at from here on: what is smaller does no harm."""


class DecompressionBomb(OSError):
    """A compressed file expands beyond all measure."""


BROKEN_COMPRESSION = (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError, DecompressionBomb)


class _Bounded(io.RawIOBase):
    """What a decompressor gives, until it is a bomb."""

    def __init__(self, stream: io.BufferedIOBase, raw: BinaryIO) -> None:
        self._stream = stream
        self._raw = raw
        self._n_out = 0
        self._error: Exception | None = None  # raised after what was read before it

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        if self._error is not None:
            raise self._error
        view = memoryview(buffer)
        filled = 0
        try:
            while filled < len(view) and (data := self._stream.read1(len(view) - filled)):
                view[filled : filled + len(data)] = data
                filled += len(data)
        except BROKEN_COMPRESSION as error:
            self._error = error
            if not filled:
                raise
        self._n_out += filled
        if self._n_out > max(_BOMB_BYTES, MAX_EXPANSION * self._raw.tell()):
            raise DecompressionBomb(f"it expands to more than {MAX_EXPANSION:,} times its size, which no dump does")
        return filled


@contextmanager
def open_binary(path: Path) -> Iterator[io.BufferedReader]:
    """Open for reading bytes, decompressing gzip and zstd; recognised by the first bytes, not the name."""
    try:
        with path.open("rb") as raw:
            magic = raw.read(4)
            raw.seek(0)
            if magic[:2] == b"\x1f\x8b":
                with gzip.GzipFile(fileobj=raw) as stream:
                    yield io.BufferedReader(_Bounded(stream, raw), 2**18)
            elif magic == b"\x28\xb5\x2f\xfd":
                # A window of 128 MB is zstd --long=27, the most that its own tools accept unasked.
                with zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(raw, read_across_frames=True) as stream_:
                    yield io.BufferedReader(_Bounded(cast(io.BufferedIOBase, stream_), raw), 2**18)
            else:
                yield raw
    except PermissionError as error:
        raise InputError(path, "cannot be opened: permission denied") from error


def sample(path: Path) -> bytes:
    """The first megabyte, decompressed; less where the compression breaks off."""
    with open_binary(path) as stream:
        parts: list[bytes] = []
        size = 0
        try:
            while size < _SAMPLE_BYTES and (part := stream.read(min(2**16, _SAMPLE_BYTES - size))):
                parts.append(part)
                size += len(part)
        except BROKEN_COMPRESSION:
            pass  # the reader meets the same fault at its place and reports it
        return b"".join(parts)


def detect_encoding(data: bytes) -> str:
    """UTF-8 (with or without BOM), UTF-16 with BOM, or Windows-1251: the ones met in practice.

    A file with some invalid bytes is still UTF-8; where they outnumber its letters beyond ASCII it is Windows-1251,
    whose Russian hardly ever forms valid UTF-8.
    """
    for bom, name in _BOMS:
        if data.startswith(bom):
            return name
    decoded = data[:_SAMPLE_BYTES].decode("utf-8", errors="replace")
    n_bad = decoded.count("\ufffd")
    n_good = sum(character > "\x7f" for character in decoded) - n_bad if n_bad > 1 else 0
    return "cp1251" if n_bad > 1 and n_bad > n_good else "utf-8"


def text_lines(path: Path, encoding: str | None = None) -> Iterator[tuple[int, str | None]]:
    """Lines with their 1-based numbers, without their ends; `None` for a line over `MAX_RECORD_BYTES`.

    Invalid bytes become U+FFFD. UTF-16 is decoded as a stream, all else line by line.
    """
    encoding = encoding or detect_encoding(sample(path))
    with open_binary(path) as stream:
        if encoding.startswith(("utf-16", "utf-32")):
            yield from _lines_of_text(io.TextIOWrapper(stream, encoding=encoding, errors="replace", newline="\n"))
            return
        number = 0
        while line_bytes := stream.readline(MAX_RECORD_BYTES):
            number += 1
            if len(line_bytes) == MAX_RECORD_BYTES and not line_bytes.endswith(b"\n"):
                while (rest := stream.readline(2**20)) and not rest.endswith(b"\n"):
                    pass
                yield number, None
                continue
            if number == 1 and encoding == "utf-8-sig":
                line_bytes = line_bytes.removeprefix(codecs.BOM_UTF8)
            plain = "utf-8" if encoding == "utf-8-sig" else encoding
            yield number, line_bytes.decode(plain, errors="replace").rstrip("\r\n")


def _lines_of_text(stream: TextIO) -> Iterator[tuple[int, str | None]]:
    longest = MAX_RECORD_BYTES // 2
    number = 0
    while line := stream.readline(longest):
        number += 1
        if len(line) == longest and not line.endswith("\n"):
            while (rest := stream.readline(2**20)) and not rest.endswith("\n"):
                pass
            yield number, None
        else:
            yield number, line.rstrip("\r\n")
