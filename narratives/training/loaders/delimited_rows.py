"""CSV and TSV with one column of labels, or with one column of 0 and 1 for each label (then `--label-column` is not given)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from narratives.errors import InputError, RecordError
from narratives.readers.source import text_lines
from narratives.training.loaders import Columns, Row
from narratives.training.loaders.record import LABEL_COLUMNS, row_of

_MAX_FIELD_CHARACTERS = 2**20


def rows(path: Path, columns: Columns) -> Iterator[Row]:
    lines = (("" if line is None else line) + "\n" for _, line in text_lines(path))
    header_line = next(lines, "")
    delimiter = max("\t;,|", key=header_line.count)
    header = next(csv.reader([header_line], delimiter=delimiter), [])
    if not header:
        raise InputError(path, "is empty")
    has_labels = columns.labels is not None or any(name.strip().lower() in LABEL_COLUMNS for name in header)
    previous = csv.field_size_limit(_MAX_FIELD_CHARACTERS)
    try:
        reader = csv.reader(lines, delimiter=delimiter)
        for cells in reader:
            if not cells:
                continue
            line = reader.line_num + 1
            if len(cells) > len(header):
                raise RecordError(
                    path, line, None, f"has {len(cells)} fields, expected {len(header)} as in the header; is a quote missing?"
                )
            record: dict[str, object] = dict(zip(header, cells, strict=False))
            yield row_of(record if has_labels else _with_labels(record, path, line), columns, path, line)
    except csv.Error as error:
        raise RecordError(path, reader.line_num + 1, None, f"is no CSV row: {error}") from error
    finally:
        csv.field_size_limit(previous)


def _with_labels(record: dict[str, object], path: Path, line: int) -> dict[str, object]:
    """The record with `labels` made of its columns that hold nothing but 0 and 1."""
    marks = {name: value for name, value in record.items() if value in {"0", "1", "0.0", "1.0"} and name.lower() not in {"id", "index", ""}}
    if not marks:
        found = ", ".join(f'"{name[:40]}"' for name in list(record)[:10])
        raise RecordError(
            path, line, "labels", f"is missing; found {found}. Expected a column of labels, or one of 0 and 1 for each; see --label-column."
        )
    return {**record, "labels": [name for name, value in marks.items() if str(value).startswith("1")]}
