"""A workbook as openpyxl, and so a spreadsheet, sees it."""

from __future__ import annotations

import zipfile
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import openpyxl
import pytest

from narratives.records import Post, Prediction, column_names
from narratives.writers import xlsx
from narratives.writers.table import to_batch
from tests.writers.test_contract import LABELS, PREDICTIONS


def book_of(path: Path, predictions: list[Prediction]) -> openpyxl.Workbook:
    writer = xlsx.XlsxWriter(path, LABELS)
    for prediction in predictions:
        writer.write(to_batch([prediction], LABELS))
    writer.close()
    return openpyxl.load_workbook(path)


def column(sheet: object, name: str) -> list[object]:
    at = column_names(LABELS).index(name) + 1
    return [sheet.cell(row, at) for row in range(2, sheet.max_row + 1)]  # type: ignore[attr-defined]


def test_header_is_frozen_filters_are_on_and_probabilities_are_coloured(tmp_path: Path) -> None:
    sheet = book_of(tmp_path / "a.xlsx", PREDICTIONS).active
    assert sheet.freeze_panes == "C2"
    assert sheet.auto_filter.ref == "A1:U3"
    coloured = {str(found.sqref): [rule.colorScale is not None for rule in found.rules] for found in sheet.conditional_formatting}
    assert coloured == {f"{c}2:{c}3": [True] for c in "MNOPQ"}
    assert [sheet[f"{c}1"].value for c in "MNOPQ"] == ["p_rain", "p_snow", "p_endorses", "p_reports", "p_refutes"]


def test_what_starts_like_a_formula_is_a_text(tmp_path: Path) -> None:
    book = book_of(tmp_path / "a.xlsx", PREDICTIONS)
    cell = column(book.active, "text")[0]
    assert cell.value == "=cmd|' /C calc'!A0\nвторая строка"  # type: ignore[attr-defined]
    assert column(book.active, "channel")[0].value == "-Канал"  # type: ignore[attr-defined]
    with zipfile.ZipFile(tmp_path / "a.xlsx") as parts:
        sheet = parts.read("xl/worksheets/sheet1.xml").decode()
        assert "<f>" not in sheet
        assert not any("hyperlink" in name for name in parts.namelist()) and "hyperlink" not in sheet


def test_times_are_utc_and_unknown_things_are_empty(tmp_path: Path) -> None:
    late = Post(text="x", id="3", published_at=datetime(2023, 10, 7, 2, 30, tzinfo=timezone(timedelta(hours=5))))
    ancient = Post(text="x", id="4", published_at=datetime(1800, 1, 1, tzinfo=UTC))
    predictions = [*PREDICTIONS, *(Prediction(post, (), {}, None, {}, screened=True) for post in (late, ancient))]
    sheet = book_of(tmp_path / "a.xlsx", predictions).active
    values = [cell.value for cell in column(sheet, "published_at")]  # type: ignore[attr-defined]
    assert values == [datetime(2023, 10, 6), None, datetime(2023, 10, 6, 21, 30), "1800-01-01 00:00:00"]
    assert column(sheet, "p_rain")[2].value is None  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["а" * 40_000, "😀" * 40_000, "\x00\x07\x1b[31m\ufffeтекст\uffff"])
def test_what_no_cell_can_hold_is_cut_and_cleaned(tmp_path: Path, text: str) -> None:
    prediction = Prediction(Post(text=text, id="1"), (), {"rain": 0.1, "snow": 0.2}, None, {})
    value = column(book_of(tmp_path / "a.xlsx", [prediction]).active, "text")[0].value  # type: ignore[attr-defined]
    if len(text) > 32_767:
        assert value.endswith(" […]")
        assert len(value.encode("utf-16-le")) // 2 <= xlsx.MAX_CELL_CHARACTERS
        assert value[:100] == text[:100]
    else:
        assert value == "[31mтекст"


def test_a_full_sheet_is_followed_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx, "MAX_ROWS", 3)
    book = book_of(tmp_path / "a.xlsx", PREDICTIONS * 4)
    assert book.sheetnames == ["posts", "posts 2", "posts 3"]
    assert [sheet.max_row for sheet in book] == [4, 4, 3]
    assert book["posts 2"].auto_filter.ref == "A1:U4"
