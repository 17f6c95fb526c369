from __future__ import annotations

from pathlib import Path

import pytest

from narratives.errors import InputError, RecordError
from narratives.report.rows import read_rows
from tests.report.conftest import Write, at, said

POSTS = [
    said("=Идёт дождь, и все это видят", "-Канал", at(0), "rain", "snow", stance="refutes", views=None, source="+Другой", source_at=at(-2)),
    said("", "kanal", None, url="https://t.me/kanal/1"),
]


@pytest.mark.parametrize("name", ["out.parquet", "out.jsonl", "out.csv"])
def test_a_row_comes_back_as_it_was_scored_from_every_format(write: Write, name: str) -> None:
    first, second = read_rows(write(POSTS, name))
    assert (first.text, first.channel, first.forwarded_from) == ("=Идёт дождь, и все это видят", "-Канал", "+Другой")
    assert (first.published_at, first.forwarded_at) == (at(0), at(-2))
    assert (first.labels, first.stance, first.views, first.forwards) == (("rain", "snow"), "refutes", None, 3)
    assert first.stance_probability == pytest.approx(0.9)
    assert first.probabilities == pytest.approx({"rain": 0.9, "snow": 0.9})
    assert [(e["label"], e["start"], e["end"]) for e in first.evidence] == [("rain", 0, 12), ("snow", 0, 12)]
    assert (second.number, second.text, second.labels, second.stance, second.published_at) == (1, "", (), None, None)


def test_a_file_that_is_no_output_is_refused_with_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "posts.csv"
    path.write_text("id,text\n1,да\n", "utf-8")
    with pytest.raises(InputError, match=r"posts\.csv: has no column labels, stance; found id, text. Give the output"):
        list(read_rows(path))
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError, match=r"'\.txt' cannot be read back; give the \.parquet, \.jsonl or \.csv"):
        list(read_rows(tmp_path / "a.txt"))
    with pytest.raises(InputError, match="no such file; give an output of `narratives score`"):
        list(read_rows(tmp_path / "absent.parquet"))
    (tmp_path / "a.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(InputError, match="is no readable Parquet file"):
        list(read_rows(tmp_path / "a.parquet"))


def test_an_output_without_rows_is_refused(write: Write) -> None:
    with pytest.raises(InputError, match="holds no rows"):
        list(read_rows(write([])))


def test_a_row_that_was_tampered_with_is_named(write: Write) -> None:
    path = write(POSTS, "out.jsonl")
    path.write_text(path.read_text("utf-8").replace('"views":100', '"views":"many"'), "utf-8")
    with pytest.raises(RecordError, match=r"out\.jsonl:2: is no row of `narratives score`: 'many' is not a count"):
        list(read_rows(path))
