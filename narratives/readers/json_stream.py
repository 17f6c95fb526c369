"""The objects of a JSON array, one at a time, from files of any size that may be broken.

Streaming parsers stop at the first broken byte and lose the rest of a dump. Here a scanner that knows only strings and
brackets cuts the file into its records; each is then parsed alone (orjson), mended if it must be, or rejected alone.
A quote that never closes ends with its line, and a record that never closes ends where the next one starts at the same
indentation, so one broken record costs at most itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from narratives.readers.source import BROKEN_COMPRESSION, MAX_RECORD_BYTES, detect_encoding, open_binary, sample

_CHUNK_BYTES = 2**20
_MAX_DEPTH = 256
"""Brackets remembered at once: no post nests so deep, and a file of nothing but "[" must not fill memory."""
# A string up to its closing quote, the end of its line, or the end of what is there; or one bracket.
_TOKEN = re.compile(rb'"[^"\\\n]*(?:\\[^\n][^"\\\n]*)*(?:["\n]|\Z)|[{}\[\]]')
_REST_OF_STRING = re.compile(rb'[^"\\\n]*(?:\\[^\n][^"\\\n]*)*(?:["\n]|\Z)')
_KEY = re.compile(rb'"((?:[^"\\]|\\.)*)"\s*:\s*$')
_ESCAPED_HEX = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_BARE_DOCUMENT_ID = re.compile(rb'("document_id"\s*:\s*)(?!["\-\d\[{]|null|true|false)([^\n,}\]]*)')
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One element of the array as bytes, or `None` with the reason why it cannot be had."""

    number: int
    data: bytes | None
    header: bytes
    """What stands before the array in the object that holds it, without its closing bracket."""
    problem: str = ""


def iter_records(path: Path, keys: frozenset[str], *, root_array: bool = False) -> Iterator[RawRecord]:
    """Cut out each object that stands in an array under one of `keys` (or in the file's own array).

    Args:
        path: the file; gzip and zstd are opened; Windows-1251 and UTF-16 are decoded.
        keys: names of the arrays wanted, wherever they stand.
        root_array: the file is one array of records.
    """
    encoding = detect_encoding(sample(path))
    scanner = _Scanner(keys, root_array)
    with open_binary(path) as stream:
        try:
            # read1: what a broken file gave before its fault is not lost with the chunk.
            while chunk := stream.read1(_CHUNK_BYTES):
                if encoding == "cp1251":
                    chunk = chunk.decode("cp1251", errors="replace").encode()
                yield from scanner.feed(chunk)
        except BROKEN_COMPRESSION as error:
            yield from scanner.finish(f"the compressed file breaks off: {error}")
            return
    yield from scanner.finish("the file ends inside this record")


class _Scanner:
    def __init__(self, keys: frozenset[str], root_array: bool) -> None:
        self.keys = keys
        self.root_array = root_array
        self.buffer = b""
        self.at = 0  # where the scan goes on in the buffer
        self.stack: list[tuple[bytes, bool]] = []  # open brackets; True: an array whose elements are wanted
        self.record_start: int | None = None
        self.record_depth = 0
        self.indent: bytes | None = None
        self.object_start = 0
        self.header = b""
        self.number = 0
        self.skipping = False
        self.n_too_deep = 0  # open brackets beyond `_MAX_DEPTH`, counted only
        self.in_string = False  # the last chunk ended inside a string

    def feed(self, chunk: bytes) -> Iterator[RawRecord]:
        self.buffer += chunk
        limit = len(self.buffer)
        while limit > self.at and self.buffer[limit - 1] == 0x5C:  # never between a backslash and what it escapes
            limit -= 1
        yield from self._scan(limit)
        self._forget()

    def finish(self, problem: str) -> Iterator[RawRecord]:
        yield from self._scan(len(self.buffer))
        if self.record_start is not None:
            yield self._record(self.buffer[self.record_start :], problem)
        elif self.stack:
            self.number += 1
            yield RawRecord(self.number, None, self.header, problem.replace("inside this record", "before its JSON is closed"))

    def _scan(self, limit: int) -> Iterator[RawRecord]:
        if self.in_string:
            rest = _REST_OF_STRING.match(self.buffer, self.at, limit)
            self.at = rest.end() if rest else self.at + 1
            self.in_string = rest is not None and self._ends_open(rest.start(), rest.end())
        if not self.in_string:
            for match in _TOKEN.finditer(self.buffer, self.at, limit):
                start, end = match.span()
                self.at = end
                first = self.buffer[start : start + 1]
                if first == b'"':
                    self.in_string = self._ends_open(start + 1, end)
                elif first in b"{[":
                    yield from self._open(first, start)
                else:
                    yield from self._close(first, end)
        self.at = max(self.at, limit)

    def _ends_open(self, start: int, end: int) -> bool:
        return end == start or self.buffer[end - 1 : end] not in (b'"', b"\n") or self._last_is_escaped(start, end)

    def _last_is_escaped(self, start: int, end: int) -> bool:
        n_backslashes = 0
        while end - 2 - n_backslashes >= start and self.buffer[end - 2 - n_backslashes] == 0x5C:
            n_backslashes += 1
        return n_backslashes % 2 == 1

    def _open(self, bracket: bytes, start: int) -> Iterator[RawRecord]:
        if len(self.stack) >= _MAX_DEPTH and not self._begins_anew(bracket, start):
            self.n_too_deep += 1
            return
        if self.record_start is not None:
            if self._begins_anew(bracket, start):
                # The same indentation as every record's start: the one before was never closed.
                yield self._record(self.buffer[self.record_start : start].rstrip(b", \r\n\t"), "its brackets do not match")
                del self.stack[self.record_depth :]
                self.stack.append((bracket, False))
                self.record_start = start
                self.n_too_deep = 0
                return
            self.stack.append((bracket, False))
            return
        inside_wanted = bool(self.stack) and self.stack[-1][1]
        if bracket == b"{" and inside_wanted:
            self.record_start, self.record_depth = start, len(self.stack)
            if self.indent is None:
                self.indent = self._indent_before(start)
            self.stack.append((bracket, False))
            return
        wanted = False
        if bracket == b"[":
            key = _KEY.search(self.buffer, max(0, start - 200), start)
            wanted = (key is not None and key.group(1).decode("utf-8", "replace") in self.keys) or (self.root_array and not self.stack)
            if wanted:
                self.header = self.buffer[self.object_start : start if key is None else key.start()]
                self.indent = None
        else:
            self.object_start = start
        self.stack.append((bracket, wanted))

    def _begins_anew(self, bracket: bytes, start: int) -> bool:
        return self.record_start is not None and bracket == b"{" and self.indent is not None and self._indent_before(start) == self.indent

    def _close(self, bracket: bytes, end: int) -> Iterator[RawRecord]:
        if self.n_too_deep:
            self.n_too_deep -= 1
            return
        opening = b"{" if bracket == b"}" else b"["
        if not self.stack or self.stack[-1][0] != opening:
            if self.record_start is None:
                return  # a stray bracket between records
            # Inside a record a wrong bracket is the record's own fault; it is parsed, and rejected, as it stands.
            while len(self.stack) > self.record_depth + 1 and self.stack[-1][0] != opening:
                self.stack.pop()
            if self.stack[-1][0] != opening:
                return
        self.stack.pop()
        if self.record_start is not None and len(self.stack) == self.record_depth:
            yield self._record(self.buffer[self.record_start : end], "")
            self.record_start = None

    def _record(self, data: bytes, problem: str) -> RawRecord:
        self.number += 1
        if self.skipping:
            self.skipping = False
            return RawRecord(self.number, None, self.header, f"longer than {MAX_RECORD_BYTES:,} bytes")
        if problem:
            return RawRecord(self.number, data[:MAX_RECORD_BYTES], self.header, problem)
        return RawRecord(self.number, data, self.header)

    def _indent_before(self, start: int) -> bytes | None:
        line = self.buffer.rfind(b"\n", max(0, start - 64), start)
        gap = self.buffer[line + 1 : start]
        return gap if line >= 0 and not gap.strip() else None

    def _forget(self) -> None:
        """Drop what is scanned, but keep the record under way, or the object before an array for its header."""
        if self.record_start is not None and self.at - self.record_start > MAX_RECORD_BYTES:
            self.skipping = True
            self.record_start = self.at
        if self.record_start is not None:
            keep = self.record_start
        elif self.stack and self.stack[-1][1]:
            keep = self.at
        else:
            keep = max(self.object_start, self.at - 2**16)
        keep = max(0, min(keep, self.at) - 256)  # for a key or an indentation
        self.buffer = self.buffer[keep:]
        self.at -= keep
        self.object_start = max(0, self.object_start - keep)
        if self.record_start is not None:
            self.record_start -= keep


def parse_object(data: bytes) -> dict[str, object]:
    """Parse one record, mending what Telegram Desktop is known to write: `\\xNN` escapes, bare document ids, control
    characters; and bytes that are not UTF-8.

    Raises:
        ValueError: it is no JSON object even so; the message says why.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        value = _parse_mended(data)
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found {type(value).__name__}")
    return value


def _parse_mended(data: bytes) -> object:
    mended = data.decode("utf-8", errors="replace").encode()
    mended = _CONTROL.sub(b" ", mended)
    mended = _ESCAPED_HEX.sub(lambda m: b"\\u00" + m.group(1) if m.group(1) else m.group(), mended)
    mended = _BARE_DOCUMENT_ID.sub(lambda m: m.group(1) + json.dumps(m.group(2).decode("utf-8", "replace").strip()).encode(), mended)
    try:
        # The standard parser, not orjson: it lets lone surrogates pass, which are mended later.
        return json.loads(mended, strict=False)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON: {error.msg} at character {error.pos}") from error


def parse_header(header: bytes) -> dict[str, object]:
    """The fields before the array: `{"name": …, "type": …, ` closed and parsed; empty where that fails."""
    try:
        return parse_object(header.rstrip().rstrip(b",") + b"}")
    except ValueError:
        return {}
