"""Filters, orders, counts and reposts over a scored file; and CSV and JSON lines give what Parquet gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from narratives.errors import ConfigError, InputError
from narratives.report.rows import read_rows
from narratives.review.filters import Filter
from narratives.review.index import Index
from narratives.review.rows import OpenedOutput, open_output
from narratives.review.server import opened
from narratives.review.store import Store
from narratives.writers.delimited import CsvWriter
from narratives.writers.jsonl import JsonlWriter
from narratives.writers.table import to_batch
from tests.review.conftest import COPIED, LABELS, START, choice, item, prediction, small, write


@pytest.fixture
def index(output: Path) -> Iterator[Index]:
    with opened(output) as found:
        found.start()
        assert found.texts_ready.wait(20)
        yield found


def rows(index: Index, reviewer: str = "a", **wanted: object) -> list[int]:
    return index.snapshot(Filter(**wanted), reviewer).rows.tolist()  # type: ignore[arg-type]


HOUR = 3_600_000_000
DAY_0 = int(START.timestamp() * 1e6)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"label": LABELS[3]}, {3, 13}),
        ({"label": "none"}, set(range(20, 30))),
        ({"label": "", "stance": "endorses", "language": "ru"}, set(range(1, 20, 2))),
        ({"channel": "первый"}, {11}),
        ({"label": "", "since": DAY_0 + 3 * HOUR, "until": DAY_0 + 6 * HOUR}, {3, 4, 5}),
        ({"label": LABELS[4], "low": 0.5}, {14}),
        ({"label": LABELS[4], "high": 0.1, "low": 0.001}, set(range(30)) - {4, 14}),
        ({"search": "базу НАТО"}, {0, 10, 11}),
        ({"search": "ЗАПИСЬ 17"}, {17}),
        ({"label": "", "search": "запись 29:"}, {29}),
        ({"search": "' OR 1=1 --"}, set()),
        ({"search": "%"}, set()),
        ({"channel": "'; DROP TABLE posts; --"}, set()),
    ],
)
def test_filters(index: Index, wanted: dict[str, object], expected: set[int]) -> None:
    assert set(rows(index, **{"copies": True, **wanted})) == expected


def test_search_gives_the_same_before_its_table_is_made(output: Path) -> None:
    with opened(output) as fresh:
        assert set(rows(fresh, label="", search="базу нато", copies=True)) == {0, 10, 11}


def test_orders(index: Index) -> None:
    assert rows(index, sort="file", copies=True) == list(range(20))
    assert rows(index, sort="newest", copies=True) == list(range(19, -1, -1))
    assert rows(index, sort="oldest", copies=True) == list(range(20))
    by_margin = rows(index, sort="uncertain", copies=True)
    assert by_margin[0] == 0
    assert by_margin.index(1) < by_margin.index(18)
    assert rows(index, sort="confident", copies=True) == by_margin[::-1] or rows(index, sort="confident", copies=True)[-1] == 0
    assert rows(index, sort="random", copies=True) != list(range(20))
    assert sorted(rows(index, sort="random", copies=True)) == list(range(20))


def test_most_seen_adds_up_copies_and_puts_unknown_last(tmp_path: Path) -> None:
    posts = [prediction(0, label=0, views=700), prediction(1, label=0, views=None)]
    posts += [prediction(n, label=0, text=COPIED, views=400) for n in (2, 3)]
    with opened(write(tmp_path / "o.parquet", posts)) as found:
        found.start()
        assert found.clusters_ready.wait(20)
        assert rows(found, sort="seen") == [2, 0, 1]


def test_a_repost_cluster_is_one_line_named_by_the_first_in_time(index: Index) -> None:
    found = index.snapshot(Filter(sort="file"), "a")
    assert len(found.rows) == 18
    assert found.n_posts == 20
    assert [row for row, *_ in index.cluster_of(11)] == [0, 10, 11]
    assert index.cluster_of(5) == []
    assert index.with_copies([10, 5]) == {0: 0, 10: 0, 11: 0, 5: 5}
    assert index.lines([0])[0]["size"] == 3
    assert rows(index, channel="первый") == [11], "where the filter hides the first, a copy stands for it"


def test_unflagged_posts_are_never_clustered(tmp_path: Path) -> None:
    with opened(write(tmp_path / "o.parquet", [prediction(n, text=COPIED) for n in range(3)])) as found:
        found.start()
        assert found.clusters_ready.wait(20)
        assert rows(found, label="none", sort="file") == [0, 1, 2]


def test_states_of_review(index: Index) -> None:
    digest, store = index.scored.digest, index.store
    store.decide(digest, "a", "accept", [(item(1), choice(LABELS[1]))])
    store.decide(digest, "b", "accept", [(item(1), choice(LABELS[2]))])
    store.decide(digest, "b", "accept", [(item(2), choice(LABELS[2], note="look"))])
    store.decide(digest, "a", "skip", [(item(3), choice(LABELS[3], verdict="skip"))])
    assert rows(index, status="mine") == [1]
    assert rows(index, status="second") == [2]
    assert rows(index, status="disagree") == [1]
    assert rows(index, status="noted") == [2]
    assert rows(index, status="skipped") == [3]
    assert not {1, 3} & set(rows(index, status="open"))
    assert not {1, 2} & set(rows(index, status="nobody"))
    store.undo(digest, "a")
    store.undo(digest, "a")
    assert rows(index, status="mine") == []
    assert {1, 3} <= set(rows(index, status="open"))


def test_a_list_does_not_move_while_its_posts_are_decided(index: Index) -> None:
    before = index.snapshot(Filter(), "a")
    index.store.decide(index.scored.digest, "a", "accept", [(item(int(before.rows[0])), choice(LABELS[0]))])
    assert index.kept(before.number) is before
    assert before.rows[0] not in index.snapshot(Filter(), "a").rows


def test_counts_of_labels_follow_the_other_filters(index: Index) -> None:
    index.store.decide(index.scored.digest, "a", "accept", [(item(1), choice(LABELS[1]))])
    counts = index.label_counts(Filter(label=LABELS[5], status="open"), "a")
    assert counts["flagged"] == (20, 1)
    assert counts["none"] == (10, 0)
    assert counts[LABELS[1]] == (1, 1)
    assert index.label_counts(Filter(language="kk"), "a")["flagged"] == (10, 0)


def test_an_unknown_label_is_named(index: Index) -> None:
    with pytest.raises(ConfigError, match="unknown label 'rain'; known: flagged, none, us_nato_conflation"):
        index.snapshot(Filter(label="rain"), "a")


# ---- opening -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("writer", "suffix"), [(CsvWriter, ".csv"), (JsonlWriter, ".jsonl")])
def test_other_formats_give_the_rows_of_parquet(
    output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: type, suffix: str
) -> None:
    monkeypatch.setenv("NARRATIVES_CACHE", str(tmp_path / "cache"))
    posts = [*small(), prediction(30, label=1, text="=cmd|'/c calc'!A1. Тогда.", views=None)]
    parquet = write(tmp_path / "rows.parquet", posts)
    other = writer(tmp_path / f"rows{suffix}", LABELS)
    for batch in pq.ParquetFile(parquet).iter_batches():
        other.write(batch)
    other.close()
    found = pq.read_table(open_output(tmp_path / f"rows{suffix}").parquet).to_pylist()
    for row, expected in zip(found, pq.read_table(parquet).to_pylist(), strict=True):
        assert {k: v for k, v in row.items() if not isinstance(v, float | list)} == {
            k: v for k, v in expected.items() if not isinstance(v, float | list)
        }
        assert row["labels"] == expected["labels"]
        assert [e["text"] for e in row["evidence"]] == [e["text"] for e in expected["evidence"]]
        assert row[f"p_{LABELS[1]}"] == pytest.approx(expected[f"p_{LABELS[1]}"], abs=1e-5)


def test_a_csv_that_went_through_a_spreadsheet_is_shown_as_it_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NARRATIVES_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "rows.csv"
    writer = CsvWriter(path, LABELS)
    cut = replace(prediction(1, label=1, truncated=True), labels=(LABELS[1], LABELS[2]))
    writer.write(to_batch([cut], LABELS))
    writer.close()
    touched = path.read_text("utf-8-sig").replace("true", "TRUE").replace("false", "FALSE").replace(f"{LABELS[1]};", f"{LABELS[1]}; ")
    path.write_text(touched, "utf-8-sig")
    (shown,) = pq.read_table(open_output(path).parquet).to_pylist()
    (reported,) = read_rows(path)
    assert (shown["truncated"], shown["screened"], tuple(shown["labels"])) == (True, False, (LABELS[1], LABELS[2]))
    assert (reported.truncated, reported.screened, reported.labels) == (True, False, (LABELS[1], LABELS[2]))


def test_thresholds_come_from_the_manifest_or_are_said_to_be_unknown(scored: OpenedOutput, tmp_path: Path) -> None:
    assert scored.thresholds[1] == 0.33
    assert scored.thresholds_known
    alone = open_output(write(tmp_path / "alone.parquet", small(), manifest=False))
    assert set(alone.thresholds) == {0.5}
    assert not alone.thresholds_known


def test_a_file_that_is_no_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent.parquet: no such file"):
        open_output(tmp_path / "absent.parquet")
    (tmp_path / "posts.csv").write_text("id,text\n1,x\n")
    with pytest.raises(InputError, match=r"posts.csv: has no column .*; found id, text. Give the output of `narratives score`."):
        open_output(tmp_path / "posts.csv")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="is no readable Parquet file"):
        open_output(tmp_path / "broken.parquet")
    (tmp_path / "o.xlsx").write_bytes(b"")
    with pytest.raises(InputError, match=r"'.xlsx' cannot be read back; give the .parquet, .jsonl or .csv of `narratives score`"):
        open_output(tmp_path / "o.xlsx")


def test_an_empty_output_opens(tmp_path: Path) -> None:
    with opened(write(tmp_path / "o.parquet", [])) as found:
        found.start()
        assert found.texts_ready.wait(20)
        assert rows(found, label="") == []
        assert isinstance(found.store, Store)
