"""An output opened again: the same rows whatever the format, and refusals that say what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from narratives import plugins
from narratives.errors import InputError, RecordError
from narratives.records import Evidence, Post, Prediction, column_names, probability_column
from narratives.scored import open_scored, parquet_batches, read_manifest, typed
from narratives.writers.table import to_batch

LABELS = ("rain", "snow")
TEXTS = ["=Льёт дождь", "", "'- тире"]


def write(path: Path, predictions: Sequence[Prediction] | None = None) -> Path:
    if predictions is None:
        predictions = [Prediction(Post(text, id=str(i)), (), {}, None, {}) for i, text in enumerate(TEXTS)]
    format = plugins.by_suffix(plugins.WRITERS, path.suffix)
    assert format is not None
    writer = plugins.load("format", plugins.WRITERS, format)(path, LABELS)
    writer.write(to_batch(predictions, LABELS))
    writer.close()
    return path


@pytest.mark.parametrize("name", ["o.parquet", "o.pq", "o.jsonl", "o.ndjson", "o.csv"])
def test_every_format_gives_columns_labels_and_rows(tmp_path: Path, name: str) -> None:
    file = open_scored(write(tmp_path / name))
    assert file.columns == column_names(LABELS)
    assert file.require_all() == LABELS
    rows = list(file.records())
    assert [row["text"] or "" for row in rows] == TEXTS
    assert [row["id"] for row in rows] == ["0", "1", "2"]
    assert {row["p_rain"] for row in rows} == {None}


def said() -> list[Prediction]:
    """A post with everything, and one with nothing, screened."""
    when = datetime(2023, 10, 9, 8, 30, tzinfo=UTC)
    whole = Post("Льёт дождь. И снег.", "1", "=канал", when, "https://t.me/k/1", 1200, 3, "-источник", when - timedelta(days=1))
    evidence = (Evidence("rain", 0, 11, 0.5),)
    sure = {"endorses": 0.5, "reports": 0.25, "refutes": 0.25}
    return [
        Prediction(whole, ("rain", "snow"), {"rain": 0.75, "snow": 0.5}, "endorses", sure, evidence, "ru", truncated=True, model="m@1"),
        Prediction(Post(""), (), {}, None, {}, screened=True),
    ]


@pytest.mark.parametrize("name", ["o.parquet", "o.jsonl", "o.csv"])
def test_rows_have_the_same_types_from_every_format(tmp_path: Path, name: str) -> None:
    first, second = open_scored(write(tmp_path / name, said())).rows()
    post = said()[0].post
    columns = first.columns()
    assert {name: columns[name] for name in columns if name not in map(probability_column, first.probabilities)} == {
        "id": "1", "text": post.text, "channel": post.channel, "published_at": post.published_at, "url": post.url, "views": 1200,
        "forwards": 3, "forwarded_from": post.forwarded_from, "forwarded_at": post.forwarded_at, "language": "ru",
        "labels": ("rain", "snow"), "stance": "endorses", "truncated": True, "screened": False, "model": "m@1",
        "evidence": [{"label": "rain", "start": 0, "end": 11, "weight": 0.5, "text": "Льёт дождь."}],
    }  # fmt: skip
    assert first.probabilities == {"rain": 0.75, "snow": 0.5, "endorses": 0.5, "reports": 0.25, "refutes": 0.25}
    assert (second.text, second.labels, second.evidence, second.screened) == ("", (), [], True)
    assert set(second.probabilities.values()) == {None}
    assert set(columns) == set(column_names(LABELS))


def test_a_row_is_read_as_a_spreadsheet_leaves_it() -> None:
    row = typed({"text": "да", "truncated": "TRUE", "screened": "FALSE", "labels": "rain, snow", "views": "1 200", "p_rain": "1"}, LABELS)
    assert (row.truncated, row.screened, row.labels) == (True, False, ("rain", "snow"))
    assert (row.views, row.probabilities["rain"], row.probabilities["snow"]) == (1200, 1.0, None)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("text", 5, 'field "text" is no text'),
        ("published_at", "yesterday", "'yesterday' is not a time; expected ISO 8601 or epoch seconds"),
        ("published_at", "0001-01-01T00:00:00+14:00", "date value out of range"),
        ("views", "many", "'many' is not a count; expected a whole number"),
        ("p_rain", "much", "could not convert string to float: 'much'"),
        ("evidence", {"label": "rain"}, 'field "evidence" is no list'),
        ("evidence", [{"label": "rain"}], "'start'"),
    ],
)
def test_a_row_that_no_output_holds_is_named(tmp_path: Path, column: str, value: object, message: str) -> None:
    path = tmp_path / "o.jsonl"
    rows = [json.loads(line) for line in write(path, said()).read_text("utf-8").splitlines()]
    path.write_text("\n".join(json.dumps(row) for row in [rows[0], rows[1] | {column: value}]), "utf-8")
    with pytest.raises(RecordError, match=re.escape(f"o.jsonl:2: is no row of `narratives score`: {message}")):
        list(open_scored(path).rows())


def test_what_is_no_output_is_refused_with_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder; give an output"):
        open_scored(tmp_path)
    path = tmp_path / "posts.csv"
    path.write_text("id,text\n1,да\n", "utf-8")
    with pytest.raises(InputError, match=r"posts\.csv: has no column labels; found id, text\. Give the output of `narratives score`\."):
        open_scored(path).require(["id", "labels"])
    path.write_text(",".join(name for name in column_names(LABELS) if name not in {"p_rain", "p_snow"}) + "\n", "utf-8")
    with pytest.raises(InputError, match=r"posts\.csv: has no column p_<label>; found "):
        open_scored(path).require_all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "o.jsonl: holds no rows"),
        (b"\n[1]\n", "o.jsonl:2: holds list, expected an object"),
        (b'{"a": 1', "o.jsonl:1: is no JSON"),
    ],
)
def test_lines_that_are_no_rows_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "o.jsonl").write_bytes(content)
    with pytest.raises((InputError, RecordError), match=message):
        open_scored(tmp_path / "o.jsonl")


def test_csv_in_another_encoding_is_refused_and_cells_beyond_the_columns_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "o.csv"
    path.write_bytes("id,text\n1,да\n".encode("cp1251"))
    with pytest.raises(InputError, match=r"o\.csv: is no readable CSV"):
        list(open_scored(path).records())
    path.write_text("id,text\n1,a,b,c\n", "utf-8")
    assert list(open_scored(path).records()) == [{"id": "1", "text": "a"}]


def test_parquet_comes_in_batches_of_the_columns_asked_for(tmp_path: Path) -> None:
    found = list(parquet_batches(write(tmp_path / "o.parquet"), n_rows=2, columns=["id"]))
    assert [batch.to_pydict() for batch in found] == [{"id": ["0", "1"]}, {"id": ["2"]}]
    assert all(isinstance(batch, pa.RecordBatch) for batch in found)


def test_the_manifest_is_beside_the_output(tmp_path: Path) -> None:
    path = tmp_path / "o.1.parquet"
    assert read_manifest(path) is None
    beside = tmp_path / "o.1.manifest.json"
    beside.write_text(json.dumps({"thresholds": {"rain": 0.5}}), "utf-8")
    assert read_manifest(path) == {"thresholds": {"rain": 0.5}}
    for broken in ("{", "[]"):
        beside.write_text(broken, "utf-8")
        with pytest.raises(InputError, match=r"o\.1\.manifest\.json: is no .*manifest.*Move it away to go on without it"):
            read_manifest(path)
