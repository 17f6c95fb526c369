"""CSV for spreadsheets: UTF-8 with BOM so that Excel shows Cyrillic, and no cell that it would run as a formula."""

from __future__ import annotations

import csv
from datetime import datetime
from pathlib import Path

import orjson
import pyarrow as pa

from narratives.records import column_names

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def safe_cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula: one that starts like a formula gets an apostrophe before it
    (OWASP, CSV injection). White space before the sign does not disarm it, so it is looked through. A text that starts with such an
    apostrophe of its own gets one more, so that `plain_cell` gives every text back."""
    return "'" + text if _is_guarded(text) else text


def plain_cell(cell: str) -> str:
    """A text as it was before `safe_cell`."""
    return cell[1:] if cell.startswith("'") and _is_guarded(cell) else cell


def _is_guarded(text: str) -> bool:
    return text.lstrip("'").lstrip(" \u00a0\n").startswith(_FORMULA_STARTS)


class CsvWriter:
    def __init__(self, path: Path, labels: tuple[str, ...]) -> None:
        self._stream = path.open("w", encoding="utf-8-sig", newline="")
        self._writer = csv.writer(self._stream)
        self._writer.writerow(column_names(labels))

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.writerows([_cell(value) for value in row.values()] for row in batch.to_pylist())

    def close(self) -> None:
        self._stream.close()


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, str):
        return safe_cell(value.replace("\0", ""))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return safe_cell(";".join(value))
    if isinstance(value, list):
        return safe_cell(orjson.dumps(value).decode("utf-8"))
    return value
