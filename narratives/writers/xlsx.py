"""XLSX for reading and sorting: a frozen header, filters, coloured probabilities, and nothing that Excel would run.

Texts are written as texts, so a leading "=" is no formula and a link is not one to click. Rows stream; a sheet that is full is
followed by another. Needs `narratives[xlsx]`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from narratives.errors import MissingDependency
from narratives.records import STANCES, column_names, probability_column

MAX_ROWS = 1_048_575
"""Of one sheet, beside the header: Excel's own limit."""
MAX_CELL_CHARACTERS = 32_767
_CUT = " […]"
_WIDTHS = {"id": 14, "text": 80, "channel": 20, "published_at": 18, "url": 28, "labels": 34, "stance": 11, "evidence": 60, "model": 24}
_LOW, _HIGH = "#FFFFFF", "#F4A261"


class XlsxWriter:
    def __init__(self, path: Path, labels: tuple[str, ...]) -> None:
        try:
            import xlsxwriter
        except ImportError as error:
            raise MissingDependency("xlsxwriter", "xlsx") from error
        options = {
            "constant_memory": True,
            "strings_to_formulas": False,
            "strings_to_urls": False,
            "strings_to_numbers": False,
            "nan_inf_to_errors": True,
        }
        self._book = xlsxwriter.Workbook(str(path), options)
        self._names = column_names(labels)
        self._probabilities = {probability_column(name) for name in (*labels, *STANCES)}
        self._header = self._book.add_format({"bold": True, "bg_color": "#264653", "font_color": "#FFFFFF", "valign": "vcenter"})
        self._text = self._book.add_format({"valign": "top"})
        self._wrapped = self._book.add_format({"valign": "top", "text_wrap": True})
        self._number = self._book.add_format({"valign": "top", "num_format": "#,##0"})
        self._share = self._book.add_format({"valign": "top", "num_format": "0.00"})
        self._time = self._book.add_format({"valign": "top", "num_format": "yyyy-mm-dd hh:mm:ss"})
        self._sheet: Any = None
        self._row = 0
        self._n_sheets = 0
        self._next_sheet()

    def write(self, batch: pa.RecordBatch) -> None:
        for row in batch.to_pylist():
            if self._row > MAX_ROWS:
                self._finish_sheet()
                self._next_sheet()
            # A height of its own: Excel would make a row as high as its longest text.
            self._sheet.set_row(self._row, 45)
            for column, name in enumerate(self._names):
                self._cell(column, name, row[name])
            self._row += 1

    def close(self) -> None:
        self._finish_sheet()
        self._book.close()

    def _next_sheet(self) -> None:
        self._n_sheets += 1
        self._sheet = self._book.add_worksheet("posts" if self._n_sheets == 1 else f"posts {self._n_sheets}")
        self._sheet.freeze_panes(1, 2)
        self._sheet.set_row(0, 22)
        for column, name in enumerate(self._names):
            self._sheet.set_column(column, column, _WIDTHS.get(name, 12))
            self._sheet.write_string(0, column, name, self._header)
        self._row = 1

    def _finish_sheet(self) -> None:
        last = max(1, self._row - 1)
        self._sheet.autofilter(0, 0, last, len(self._names) - 1)
        scale = {
            "type": "2_color_scale",
            "min_type": "num",
            "max_type": "num",
            "min_value": 0,
            "max_value": 1,
            "min_color": _LOW,
            "max_color": _HIGH,
        }
        for column, name in enumerate(self._names):
            if name in self._probabilities:
                self._sheet.conditional_format(1, column, last, column, scale)

    def _cell(self, column: int, name: str, value: object) -> None:
        if value is None:
            return
        if isinstance(value, bool):
            self._sheet.write_boolean(self._row, column, value, self._text)
        elif isinstance(value, datetime):
            # Excel knows no time zones and no year before 1900; times of an output are UTC.
            naive = value.astimezone(UTC).replace(tzinfo=None, microsecond=0)
            if naive.year >= 1900:
                self._sheet.write_datetime(self._row, column, naive, self._time)
            else:
                self._sheet.write_string(self._row, column, naive.isoformat(" "), self._text)
        elif isinstance(value, (int, float)):
            self._sheet.write_number(self._row, column, value, self._share if name in self._probabilities else self._number)
        else:
            style = self._wrapped if name in ("text", "evidence") else self._text
            self._sheet.write_string(self._row, column, _fit(_plain(value)), style)


def _plain(value: object) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "\n".join(f"{item['label']} {item['weight']:.2f}: {item['text']}" for item in value)
    if isinstance(value, list):
        return ";".join(str(item) for item in value)
    return str(value)


def _fit(text: str) -> str:
    """What a cell may hold: no characters that XML forbids, at most 32,767 of them."""
    text = "".join(c for c in text if c in "\n\t" or (c >= " " and c not in "\ufffe\uffff"))
    # Excel counts UTF-16 units.
    n_units = len(text.encode("utf-16-le")) // 2
    if n_units <= MAX_CELL_CHARACTERS:
        return text
    kept = text.encode("utf-16-le")[: 2 * (MAX_CELL_CHARACTERS - len(_CUT))].decode("utf-16-le", "ignore")
    return kept + _CUT
