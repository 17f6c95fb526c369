"""CSV and TSV, 4CAT's CSV among them; the delimiter is found in the first line, the encoding in the file."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from narratives.errors import InputError, RecordError
from narratives.readers.fields import match_columns, post_from_fields
from narratives.readers.source import BROKEN_COMPRESSION, MAX_RECORD_BYTES, text_lines
from narratives.records import Post, RejectedRecord

_MAX_FIELD_CHARACTERS = 2**20


def read(path: Path, *, text_column: str | None = None) -> Iterator[Post | RejectedRecord]:
    """Posts of the file. `line` of a rejected record is the line where it ends: a quoted text may span several."""
    broken: list[str] = []

    def lines() -> Iterator[str]:
        try:
            for number, line in text_lines(path):
                if line is None:
                    broken.append(f"line {number} is longer than {MAX_RECORD_BYTES:,} bytes")
                    yield "\n"
                else:
                    yield line + "\n"
        except BROKEN_COMPRESSION as error:
            broken.append(f"the compressed file breaks off: {error}")

    source = lines()
    header_line = next(source, "")
    delimiter = max("\t;,|", key=header_line.count)
    try:
        header = next(csv.reader([header_line], delimiter=delimiter), [])
    except csv.Error as error:
        raise InputError(path, f"its first line is no CSV header: {error}") from error
    columns = match_columns(header, text_column, path)
    previous_limit = csv.field_size_limit(_MAX_FIELD_CHARACTERS)
    try:
        rows = csv.reader(source, delimiter=delimiter)
        while True:
            try:
                cells = next(rows)
            except StopIteration:
                break
            except csv.Error as error:
                yield RejectedRecord(str(path), rows.line_num + 1, None, f"not a CSV row: {error}")
                continue
            finally:
                for reason in broken:
                    yield RejectedRecord(str(path), rows.line_num + 1, None, reason)
                broken.clear()
            if not cells:
                continue
            line = rows.line_num + 1
            if len(cells) > len(header):
                reason = f"has {len(cells)} fields, expected {len(header)} as in the header; is a quote or delimiter missing?"
                yield RejectedRecord(str(path), line, None, reason, delimiter.join(cells)[:10_000])
                continue
            record = dict(zip(header, cells, strict=False))
            try:
                post, notes = post_from_fields(record, columns, path, line)
            except RecordError as error:
                yield RejectedRecord.from_error(error, delimiter.join(cells))
                continue
            yield post
            yield from notes
    finally:
        csv.field_size_limit(previous_limit)
    if not header_line.strip():
        raise InputError(path, "is empty")
