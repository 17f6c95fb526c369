"""What once went wrong on the review page: each test failed before its fault was mended."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from narratives import records, taxonomy
from narratives.errors import InputError
from narratives.review.export import export
from narratives.review.figures import measure
from narratives.review.rows import open_output
from narratives.review.server import opened
from narratives.review.store import Store
from narratives.writers.jsonl import JsonlWriter
from narratives.writers.table import to_batch
from tests.review.conftest import LABELS, choice, item, prediction, small, write


def test_a_decision_that_reads_posts_never_waits_for_a_list_that_waits_for_it(output: Path) -> None:
    with opened(output) as index:
        asked = threading.Event()

        def choices():  # type: ignore[no-untyped-def]
            other = threading.Thread(target=lambda: (index.mirror(), index.store.last_event(), asked.set()), daemon=True)
            other.start()
            assert asked.wait(5), "a list must be answered while a decision gathers its posts"
            yield item(1), choice(LABELS[0])

        index.store.decide(index.scored.digest, "a", "accept", choices())
        assert [s.row for s in index.store.standing(index.scored.digest)] == [1]


@pytest.mark.parametrize("label", ['x" FROM y; DROP TABLE posts; --', "../up", "Upper", "a'b"])
def test_a_column_that_is_no_label_is_refused(tmp_path: Path, label: str) -> None:
    table = pq.read_table(write(tmp_path / "o.parquet", small()))
    pq.write_table(table.append_column(f"p_{label}", pa.nulls(table.num_rows, pa.float32())), tmp_path / "o.parquet")
    with pytest.raises(InputError, match=r"o.parquet: has a column .*, which is no label's; expected p_ and lower-case letters"):
        open_output(tmp_path / "o.parquet")


def test_the_pattern_of_labels_is_the_taxonomys() -> None:
    assert records._LABEL_ID.pattern == taxonomy._ID.pattern


def test_the_database_opens_no_other_file_and_no_folder_names_a_column(tmp_path: Path) -> None:
    import duckdb

    (tmp_path / "secret.csv").write_text("a\n1\n")
    (tmp_path / "language=xx").mkdir()
    with opened(write(tmp_path / "language=xx" / "o.parquet", small())) as index:
        assert {name for name, _ in index.facets()["languages"]} == {"ru", "kk"}
        with pytest.raises(duckdb.Error), index._connection() as db:
            db.execute(f"SELECT * FROM read_csv('{tmp_path / 'secret.csv'}')")


def test_a_dated_forward_opens_from_json_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NARRATIVES_CACHE", str(tmp_path / "cache"))
    when = datetime(2023, 5, 1, tzinfo=UTC)
    post = prediction(0, label=0)
    writer = JsonlWriter(tmp_path / "o.jsonl", LABELS)
    writer.write(to_batch([replace(post, post=replace(post.post, forwarded_at=when))], LABELS))
    writer.close()
    assert pq.read_table(open_output(tmp_path / "o.jsonl").parquet)["forwarded_at"].to_pylist() == [when]


def test_bulk_says_nothing_against_a_reading(tmp_path: Path) -> None:
    store = Store(tmp_path / "d.sqlite")
    store.decide("o", "a", "reject", [(item(1), choice())])
    store.decide("o", "b", "bulk accept", [(item(1), choice(LABELS[0], seen=False))])
    found = measure(store, "o", LABELS)
    assert (found.precision[LABELS[0]].n_right, found.precision[LABELS[0]].n, found.n_disagreements) == (0, 1, 0)
    assert export(store.path, tmp_path / "x.jsonl").n_corrected == 1


def test_alpha_is_of_readings_before_a_settlement(tmp_path: Path) -> None:
    store = Store(tmp_path / "d.sqlite")
    store.decide("o", "a", "accept", [(item(1), choice(LABELS[0]))])
    store.decide("o", "b", "reject", [(item(1), choice())])
    store.decide("o", "b", "accept", [(item(1), choice(LABELS[0], settles=True))])
    found = measure(store, "o", LABELS)
    assert (found.n_twice, found.n_same, found.n_disagreements) == (1, 0, 0)


def test_copies_known_later_are_counted_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "d.sqlite")
    for row in (1, 2):
        store.decide("o", "a", "accept", [(item(row), choice(LABELS[0]))])
    store.recluster("o", {1: 1, 2: 1})
    assert measure(store, "o", LABELS).n_read == 1


def test_a_file_scored_again_gives_each_post_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "d.sqlite")
    store.decide("old", "a", "accept", [(item(1), choice(LABELS[0]))])
    store.decide("new", "a", "reject", [(item(1), choice())])
    assert export(store.path, tmp_path / "x.jsonl").n_posts == 1
    assert json.loads((tmp_path / "x.jsonl").read_text())["labels"] == []
