"""Decisions follow their posts when a file is scored again; what finds no post is kept, told about and exported."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from narratives import job
from narratives.bundle import ModelBundle
from narratives.records import PLACE_ID, Prediction, is_place_id, place_id
from narratives.review.carry import Carried
from narratives.review.export import export
from narratives.review.figures import measure
from narratives.review.index import Index
from narratives.review.server import opened
from narratives.review.store import Choice
from narratives.review.texts import Texts, item_of
from narratives.scorer import Scorer
from tests.review.conftest import LABELS, prediction, write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Posts 0 to 5, each with the label of its number."""
    return write(tmp_path / "out.parquet", posts(0, 1, 2, 3, 4, 5))


def posts(*numbers: int) -> list[Prediction]:
    return [prediction(n, label=n) for n in numbers]


@contextmanager
def version(path: Path, rows: list[Prediction] | None = None) -> Iterator[Index]:
    """The file, scored again as these rows, opened."""
    if rows is not None:
        write(path, rows)
    with opened(path) as index:
        yield index


def decide(index: Index, *ids: int, reviewer: str = "a", labels: tuple[str, ...] | None = None, **more: bool) -> None:
    """One event on the posts with these ids: labels as predicted, or as said."""
    by_id = {str(post["id"]): post for post in index.posts(range(index.n_posts))}
    items = [item_of(by_id[str(n)], int(str(by_id[str(n)]["row"])), index.scored.label_ids) for n in ids]
    choices = [
        Choice("accept" if labels is None else "correct" if labels else "reject", item.predicted if labels is None else labels,
               "endorses" if labels is None or labels else None, **more)
        for item in items
    ]  # fmt: skip
    index.store.decide(index.scored.digest, reviewer, "accept", list(zip(items, choices, strict=True)))


def stands(index: Index, reviewer: str = "a") -> dict[str, tuple[str, tuple[str, ...]]]:
    """Verdict and labels by the id of the post in this version."""
    index.mirror()
    ids = {int(str(post["row"])): str(post["id"]) for post in index.posts(range(index.n_posts))}
    found = index.store.standing(index.scored.digest)
    return {ids[s.row]: (s.choice.verdict, s.choice.labels) for s in found if s.reviewer == reviewer}


def exported(path: Path) -> list[tuple[str, list[str]]]:
    output = path.with_name("x.jsonl")
    export(path.with_name("out.decisions.sqlite"), output, overwrite=True)
    return sorted((row["id"], row["labels"]) for row in map(json.loads, output.read_text("utf-8").splitlines()))


def edited(number: int, text: str) -> Prediction:
    return prediction(number, label=number, text=text)


def test_decisions_are_on_their_posts_when_rows_move_vanish_change_and_come(path: Path) -> None:
    with version(path) as old:
        assert old.carried == Carried()
        decide(old, 0)
        decide(old, 1, labels=())
        decide(old, 2, labels=(LABELS[7],))
        decide(old, 3)
        decide(old, 1, reviewer="b", labels=(LABELS[1], LABELS[2]))
    # 0 is gone, 3 was edited, 9 is new, the order is another.
    again = [prediction(9, label=9), *posts(5, 4), edited(3, "Исправлено. Второе предложение."), *posts(2, 1)]
    with version(path, again) as new:
        assert new.carried == Carried(n_posts=2, n_gone=1, n_edited=1)
        assert new.carried.n_left == 2
        assert stands(new) == {"1": ("reject", ()), "2": ("correct", (LABELS[7],))}
        assert stands(new, "b") == {"1": ("correct", (LABELS[1], LABELS[2]))}
        decide(new, 9)
    # Post 1 is in dispute; of post 3 the text that was read is exported.
    assert exported(path) == [("0", [LABELS[0]]), ("2", [LABELS[7]]), ("3", [LABELS[3]]), ("9", [LABELS[9]])]


def test_opening_again_takes_nothing_over_twice(path: Path) -> None:
    with version(path) as old:
        decide(old, 0, 1)
    with version(path, posts(1, 2)) as new:
        assert new.carried == Carried(n_posts=1, n_gone=1)
    with version(path) as same:
        assert same.carried == Carried(n_gone=1)
        assert same.store.n_undoable(same.scored.digest, "a") == 1


def test_undo_goes_back_through_what_was_carried(path: Path) -> None:
    with version(path) as old:
        decide(old, 1)
        decide(old, 1, labels=())
        decide(old, 0, 1, 2, labels=(LABELS[5],))
        decide(old, 2)
        old.store.undo(old.scored.digest, "a")
    with version(path, posts(2, 1)) as new:
        store, digest = new.store, new.scored.digest
        assert stands(new) == {"1": ("correct", (LABELS[5],)), "2": ("correct", (LABELS[5],))}
        assert store.n_undoable(digest, "a") == 3
        store.undo(digest, "a")
        assert stands(new) == {"1": ("reject", ())}
        store.undo(digest, "a")
        assert stands(new) == {"1": ("accept", (LABELS[1],))}
        store.undo(digest, "a")
        assert stands(new) == {}
        assert store.undo(digest, "a") is None
    assert exported(path) == [("0", [LABELS[5]])], "what was undone on the new version is not taken from the old one"


def test_what_was_undone_on_one_version_does_not_come_back_on_the_next(path: Path) -> None:
    with version(path) as first:
        decide(first, 0, 1)
    with version(path, posts(1, 2)) as second:
        second.store.undo(second.scored.digest, "a")
        decide(second, 2)
    with version(path, posts(2, 1, 0)) as third:
        # Post 0 was not there to be undone.
        assert stands(third) == {"0": ("accept", (LABELS[0],)), "2": ("accept", (LABELS[2],))}
        assert third.carried == Carried(n_posts=2)
    assert exported(path) == [("0", [LABELS[0]]), ("2", [LABELS[2]])]


def test_an_older_decision_found_later_does_not_cover_a_newer_one(path: Path, tmp_path: Path) -> None:
    first = path.read_bytes()
    with version(path):
        pass
    with version(path, posts(2, 1)) as new:
        old = write(tmp_path / "old.parquet", [])
        old.write_bytes(first)
        with opened(old, decisions=tmp_path / "out.decisions.sqlite") as other:
            decide(other, 1, 2)
        decide(new, 1, labels=())
    with version(path) as new:
        assert stands(new) == {"1": ("reject", ()), "2": ("accept", (LABELS[2],))}


def test_a_verdict_is_said_of_what_the_new_model_predicts(path: Path) -> None:
    with version(path) as old:
        decide(old, 1, 2)
        decide(old, 3, labels=(LABELS[6],))
    again = [replace(p, labels=(LABELS[6],)) for p in posts(1, 3)]
    with version(path, [*again, *posts(2)]) as new:
        assert stands(new) == {"1": ("correct", (LABELS[1],)), "2": ("accept", (LABELS[2],)), "3": ("accept", (LABELS[6],))}
        precision = measure(new.store, new.scored.digest, LABELS).precision
        assert (precision[LABELS[6]].n_right, precision[LABELS[6]].n) == (1, 2)


def test_readings_and_settlements_are_carried_as_they_were(path: Path) -> None:
    with version(path) as old:
        decide(old, 1)
        decide(old, 1, reviewer="b", labels=())
        decide(old, 1, reviewer="b", settles=True)
        before = measure(old.store, old.scored.digest, LABELS)
        when = {s.reviewer: s.at for s in old.store.standing(old.scored.digest)}
    with version(path, posts(3, 2, 1)) as new:
        assert measure(new.store, new.scored.digest, LABELS) == before
        assert {s.reviewer: s.at for s in new.store.standing(new.scored.digest)} == when
    assert before.n_twice == 1
    assert before.n_same == 0


def test_a_label_that_is_no_more_leaves_its_decision_behind(path: Path) -> None:
    with version(path) as old:
        decide(old, 1, labels=("a_label_of_old",))
        decide(old, 2)
    with version(path, posts(2, 1)) as new:
        assert new.carried == Carried(n_posts=1, n_labels=1)
        assert stands(new) == {"2": ("accept", (LABELS[2],))}
    assert ("1", ["a_label_of_old"]) in exported(path)


def test_posts_that_are_the_same_in_everything_keep_a_decision_each(path: Path) -> None:
    twice = [prediction(1, label=1), prediction(1, label=1)]
    with version(path, twice) as old:
        for row, verdict in ((0, "accept"), (1, "reject")):
            item = item_of(old.posts([row])[0], row, LABELS)
            choice = Choice("accept", item.predicted, "endorses") if verdict == "accept" else Choice("reject", (), None)
            old.store.decide(old.scored.digest, "a", verdict, [(item, choice)])
    with version(path, [*posts(4), *twice]) as new:
        assert [(s.row, s.choice.verdict) for s in new.store.standing(new.scored.digest)] == [(1, "accept"), (2, "reject")]


def test_a_decision_of_another_version_made_meanwhile_comes_at_the_next_opening(path: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.parquet"
    old.write_bytes(path.read_bytes())
    with opened(old, decisions=tmp_path / "out.decisions.sqlite") as first:
        decide(first, 1)
        with version(path, posts(2, 1)) as new:
            assert stands(new).keys() == {"1"}
        decide(first, 2)
    with version(path) as new:
        assert new.carried == Carried(n_posts=1)
        assert stands(new).keys() == {"1", "2"}


# ---- posts without an id ----------------------------------------------------------------------------------------------

BROKEN = ("a", "row", "with", "more", "cells", "than", "the", "header")
RAIN, SNOW, FAIR = "Точно говорю: льёт дождь.", "Сообщают соседи: валит снег.", "Рынок открыта для всех."


@pytest.fixture(scope="module")
def scorer(linear_bundle: ModelBundle) -> Scorer:
    return Scorer.from_bundle(linear_bundle)


def score(scorer: Scorer, source: Path, files: dict[str, list[tuple[str, ...]]]) -> Path:
    """The output of a folder of CSV dumps, one folder a call, with channel and text and no id; of the file where there is one."""
    source.mkdir()
    for name, rows in files.items():
        with (source / name).open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([("channel", "text"), *rows])
    output = source.with_name("out.parquet")
    job.run(source if len(files) > 1 else source / next(iter(files)), output, scorer, overwrite=True)
    return output


def decide_rows(index: Index, *choices: tuple[int, tuple[str, ...]]) -> None:
    """One event a row: these labels."""
    for row, labels in choices:
        choice = Choice("correct" if labels else "reject", labels, "endorses" if labels else None)
        index.store.decide(
            index.scored.digest, "a", choice.verdict, [(item_of(index.posts([row])[0], row, index.scored.label_ids), choice)]
        )


def stands_by_text(index: Index) -> list[tuple[str, str, tuple[str, ...]]]:
    """Channel, text and labels of what stands, by row."""
    found = {s.row: s.choice.labels for s in index.store.standing(index.scored.digest)}
    return [(str(post["channel"]), str(post["text"]), found[int(str(post["row"]))]) for post in index.posts(sorted(found))]


def exported_by_text(path: Path) -> list[tuple[str, str, list[str]]]:
    output = path.with_name("x.jsonl")
    export(path.with_name("out.decisions.sqlite"), output, overwrite=True)
    return sorted((row["channel"], row["text"], row["labels"]) for row in map(json.loads, output.read_text("utf-8").splitlines()))


@pytest.mark.parametrize("other", [{}, {"b.csv": [("в", FAIR)]}], ids=["file", "folder"])
def test_posts_without_an_id_are_known_by_channel_and_text(tmp_path: Path, scorer: Scorer, other: dict[str, list[tuple[str, ...]]]) -> None:
    path = score(scorer, tmp_path / "first", {"a.csv": [("а", RAIN), ("б", RAIN), ("а", SNOW), ("а", FAIR)], **other})
    with opened(path) as old:
        assert [post["id"] for post in old.posts([0, 1])] == [place_id(n, "a.csv:" if other else "") for n in (1, 2)]
        decide_rows(old, (0, ()), (1, ("snow",)), (2, ("rain", "snow")))
    expected = [("а", SNOW, ["rain", "snow"]), ("а", RAIN, []), ("б", RAIN, ["snow"])]
    # In another order, where the second number was the post's already and the others are other posts'.
    score(scorer, tmp_path / "second", {"a.csv": [("а", SNOW), ("б", RAIN), ("а", FAIR), ("а", RAIN)], **other})
    with opened(path) as new:
        assert new.carried == Carried(n_posts=3)
        assert stands_by_text(new) == [("а", SNOW, ("rain", "snow")), ("б", RAIN, ("snow",)), ("а", RAIN, ())]
    assert exported_by_text(path) == expected
    # A record that is rejected takes a number too, and the file has another name.
    score(scorer, tmp_path / "third", {"0.csv": [BROKEN, ("а", RAIN), ("б", RAIN), ("а", SNOW)], **other})
    with opened(path) as third:
        assert [post["id"] for post in third.posts([0])] == [place_id(2, "0.csv:" if other else "")]
        assert third.carried == Carried(n_posts=3)
        assert stands_by_text(third) == [("а", RAIN, ()), ("б", RAIN, ("snow",)), ("а", SNOW, ("rain", "snow"))]
    assert exported_by_text(path) == expected


def test_a_post_without_an_id_that_has_another_text_is_gone_and_counts_once(tmp_path: Path, scorer: Scorer) -> None:
    path = score(scorer, tmp_path / "first", {"a.csv": [("а", RAIN), ("а", SNOW)]})
    with opened(path) as old:
        decide_rows(old, (0, ("rain",)), (1, ("snow",)))
    score(scorer, tmp_path / "second", {"a.csv": [BROKEN, ("а", FAIR), ("а", RAIN), ("а", SNOW)]})
    with opened(path) as new:
        assert new.carried == Carried(n_posts=2)
    # Two versions know the snow now, under two numbers.
    score(scorer, tmp_path / "third", {"a.csv": [("а", RAIN), ("а", FAIR)]})
    with opened(path) as third:
        assert third.carried == Carried(n_posts=1, n_gone=1)
        assert stands_by_text(third) == [("а", RAIN, ("rain",))]
    assert exported_by_text(path) == [("а", SNOW, ["snow"]), ("а", RAIN, ["rain"])]


def test_an_output_that_leaves_ids_empty_carries_over_too(path: Path) -> None:
    def nameless(number: int) -> Prediction:
        found = prediction(number, label=number)
        return replace(found, post=replace(found.post, id=None))

    with version(path, [nameless(n) for n in (0, 1, 2)]) as old:
        decide_rows(old, (1, ()))
    with version(path, [nameless(n) for n in (5, 4, 1)]) as new:
        assert new.carried == Carried(n_posts=1)
        assert [s.row for s in new.store.standing(new.scored.digest)] == [2]
    with version(path, [nameless(n) for n in (1, 5)]) as new:
        assert [s.row for s in new.store.standing(new.scored.digest)] == [0]
    assert len(exported(path)) == 1


def test_of_equal_posts_without_an_id_each_keeps_its_decision_and_each_is_looked_at_once(
    tmp_path: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[int] = []
    of_rows = Texts.of_rows

    def counting(texts: Texts, rows: Sequence[int]) -> dict[int, str]:
        looked_at.extend(rows)
        return of_rows(texts, rows)

    monkeypatch.setattr(Texts, "of_rows", counting)
    empty = [("а", "")] * 30
    path = score(scorer, tmp_path / "first", {"a.csv": [*empty, ("б", "")]})
    with opened(path) as old:
        decide_rows(old, *((row, ("rain",) if row % 2 else ()) for row in range(31)))
    score(scorer, tmp_path / "second", {"a.csv": [("б", ""), BROKEN, *empty]})
    with opened(path) as new:
        assert new.carried == Carried(n_posts=31)
        labels = [labels for _, _, labels in stands_by_text(new)]
        assert labels == [(), *(("rain",) if row % 2 else () for row in range(30))]
    assert len(looked_at) == 31
    assert len(exported_by_text(path)) == 31
    score(scorer, tmp_path / "third", {"a.csv": [*empty[:2], ("б", "")]})
    with opened(path) as fewer:
        assert stands_by_text(fewer) == [("а", "", ()), ("а", "", ("rain",)), ("б", "", ())], "the last decided on stands"


@pytest.mark.parametrize(
    ("post_id", "is_place"),
    [(place_id(1), True), (place_id(17, "a.csv:"), True), (place_id(3, "two\nlines:1.csv:"), True),
     ("row", False), ("row1x", False), ("arrow1", False), ("row1\n", False), ("row٣", False), ("row1:2", False)],
)  # fmt: skip
def test_ids_that_are_places_are_told_alike_by_python_and_by_the_database(post_id: str, is_place: bool) -> None:
    with duckdb.connect() as database:
        asked = database.execute("SELECT regexp_full_match(?, ?)", [post_id, PLACE_ID]).fetchone()
    assert (is_place_id(post_id), asked) == (is_place, (is_place,))
