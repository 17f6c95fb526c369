"""The same facts over every writer of the table."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import openpyxl
import pyarrow.parquet as pq
import pytest

from narratives import plugins
from narratives.records import Evidence, Post, Prediction, column_names
from narratives.writers.delimited import plain_cell, safe_cell
from narratives.writers.table import schema, to_batch

LABELS = ("rain", "snow")
PREDICTIONS = [
    Prediction(
        post=Post(
            text="=cmd|' /C calc'!A0\nвторая строка",
            id="1",
            channel="-Канал",
            published_at=datetime(2023, 10, 6, tzinfo=UTC),
            views=3,
            forwarded_from="Источник",
            forwarded_at=datetime(2023, 10, 5, 21, tzinfo=UTC),
        ),
        labels=("snow", "rain"),
        probabilities={"rain": 0.75, "snow": 0.5},
        stance="reports",
        stance_probabilities={"endorses": 0.1, "reports": 0.8, "refutes": 0.1},
        evidence=(Evidence("snow", 0, 4, 0.5),),
        language="ru",
        model="m@1",
    ),
    Prediction(post=Post(text="", id="2"), labels=(), probabilities={"rain": 0.0, "snow": 0.0}, stance=None, stance_probabilities={}),
]


@pytest.fixture(params=sorted(plugins.WRITERS))
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    leaf = plugins.WRITERS[request.param]
    path = tmp_path / f"out{leaf.suffixes[0]}"
    writer = plugins.load("output format", plugins.WRITERS, request.param)(path, LABELS)
    for prediction in PREDICTIONS:
        writer.write(to_batch([prediction], LABELS))
    writer.close()
    return path


def rows_of(path: Path) -> list[dict[str, object]]:
    if path.suffix == ".parquet":
        return list(pq.read_table(path).to_pylist())
    if path.suffix == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return list(csv.DictReader(stream))
    if path.suffix == ".xlsx":
        header, *rows = openpyxl.load_workbook(path).active.iter_rows(values_only=True)
        return [dict(zip(header, row, strict=True)) for row in rows]
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_writer_file_has_its_line_in_the_table() -> None:
    files = {p.stem for p in (Path(plugins.__file__).parent / "writers").glob("*.py")} - {"__init__", "table", "json_array", "disarm"}
    leaves = [*plugins.WRITERS.values(), *plugins.EXPORTS.values()]
    assert files == {leaf.target.split(":")[0].rsplit(".", 1)[1] for leaf in leaves}


def test_columns_are_those_of_records_in_their_order(written: Path) -> None:
    assert tuple(rows_of(written)[0]) == column_names(LABELS)
    assert column_names(LABELS) == (
        "id", "text", "channel", "published_at", "url", "views", "forwards", "forwarded_from", "forwarded_at",
        "language", "labels", "stance",
        "p_rain", "p_snow", "p_endorses", "p_reports", "p_refutes", "evidence", "truncated", "screened", "model",
    )  # fmt: skip
    assert tuple(schema(LABELS).names) == column_names(LABELS)


def test_parquet_row_groups_have_the_size_that_query_engines_want(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from narratives.writers import parquet

    assert 100_000 <= parquet.ROW_GROUP_ROWS <= 122_880
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 10)
    batch = to_batch([PREDICTIONS[0]] * 7, LABELS)
    writer = parquet.ParquetWriter(tmp_path / "a.parquet", LABELS)
    for _ in range(4):
        writer.write(batch)
    writer.close()
    with pq.ParquetFile(tmp_path / "a.parquet") as file:
        assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [10, 10, 8]
        assert file.read().num_rows == 28


def test_a_row_group_of_endless_posts_ends_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from narratives.writers import parquet

    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 2**20)
    batch = to_batch([Prediction(Post("а" * 100_000), (), {}, None, {})], LABELS)
    writer = parquet.ParquetWriter(tmp_path / "a.parquet", LABELS)
    for _ in range(12):
        writer.write(batch)
    writer.close()
    with pq.ParquetFile(tmp_path / "a.parquet") as file:
        assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [6, 6]


def test_every_row_is_there_with_its_values(written: Path) -> None:
    first, second = rows_of(written)
    assert "вторая строка" in str(first["text"])
    assert float(str(first["p_rain"])) == 0.75
    assert str(first["views"]) == "3"
    assert str(first["forwarded_at"])[:16].replace("T", " ") == "2023-10-05 21:00"
    assert second["views"] in (None, "")
    assert second["forwarded_at"] in (None, "")
    assert second["stance"] in (None, "")


def test_lists_stay_lists_where_the_format_has_them(written: Path) -> None:
    first = rows_of(written)[0]
    if written.suffix == ".csv":
        assert first["labels"] == "snow;rain"
        assert json.loads(str(first["evidence"]))[0]["label"] == "snow"
    elif written.suffix == ".xlsx":
        assert first["labels"] == "snow;rain"
        assert first["evidence"] == "snow 0.50: =cmd"
    else:
        assert first["labels"] == ["snow", "rain"]
        assert first["evidence"] == [{"label": "snow", "start": 0, "end": 4, "weight": 0.5, "text": "=cmd"}]


def test_a_spreadsheet_runs_nothing(tmp_path: Path) -> None:
    writer = plugins.load("output format", plugins.WRITERS, "csv")(tmp_path / "a.csv", LABELS)
    writer.write(to_batch(PREDICTIONS, LABELS))
    writer.close()
    assert (tmp_path / "a.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    first = rows_of(tmp_path / "a.csv")[0]
    assert str(first["text"]).startswith("'=cmd")
    assert first["channel"] == "'-Канал"


@pytest.mark.parametrize("text", ["=1+1", "+7", "-5", "@x", "\t=1", "\r=1", "  =1", "\n=1"])
def test_formula_starts_are_disarmed(text: str) -> None:
    assert safe_cell(text) == "'" + text


@pytest.mark.parametrize("text", ["=1", "'=1", "''=1", "' =1", "'\t", "\t=1", " '=1", "'так'", "'", "", "\u00a0@x", "'\n+7"])
def test_every_text_comes_back_from_its_cell(text: str) -> None:
    assert plain_cell(safe_cell(text)) == text


def test_other_cells_are_left_alone() -> None:
    assert safe_cell("Итог: 2 = 1 + 1") == "Итог: 2 = 1 + 1"
