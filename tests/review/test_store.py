"""Decisions are written at once, undone without limit, and outlive tabs, processes and kills."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from narratives.errors import InputError
from narratives.review.store import Stale, Store
from tests.conftest import ROOT
from tests.review.conftest import choice, item


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "d.sqlite")


def stands(store: Store, row: int) -> dict[str, tuple[str, ...]]:
    return {s.reviewer: s.choice.labels for s in store.standing("o", row)}


def test_what_stands_is_the_last_decision_of_each_reviewer(store: Store) -> None:
    store.decide("o", "a", "accept", [(item(1), choice("rain"))])
    store.decide("o", "b", "accept", [(item(1), choice("snow"))])
    store.decide("o", "a", "correct", [(item(1), choice("rain", "snow"))])
    assert stands(store, 1) == {"a": ("rain", "snow"), "b": ("snow",)}
    assert store.standing("another output") == []


def test_undo_goes_back_to_the_beginning_and_leaves_others_alone(store: Store) -> None:
    for n in range(50):
        store.decide("o", "a", "correct", [(item(n % 3), choice(f"l{n}"))])
    store.decide("o", "b", "accept", [(item(0), choice("b"))])
    for n in reversed(range(50)):
        assert store.undo("o", "a") == ("correct", (n % 3,))
        assert stands(store, n % 3).get("a") == ((f"l{n - 3}",) if n >= 3 else None)
    assert store.undo("o", "a") is None
    assert stands(store, 0) == {"b": ("b",)}


def test_undo_takes_back_a_decision_on_many_posts_at_once(store: Store) -> None:
    store.decide("o", "a", "accept", [(item(1), choice("before"))])
    store.decide("o", "a", "bulk reject", [(item(n), choice()) for n in range(500)])
    assert len(store.standing("o")) == 500
    kind, rows = store.undo("o", "a") or ("", ())
    assert (kind, len(rows)) == ("bulk reject", 500)
    assert [(s.row, s.choice.labels) for s in store.standing("o")] == [(1, ("before",))]


def test_a_decision_on_what_another_tab_has_changed_is_refused_and_writes_nothing(store: Store) -> None:
    first = store.decide("o", "a", "accept", [(item(1), choice("rain"))], expected=(1, 0))
    with pytest.raises(Stale) as caught:
        store.decide("o", "a", "reject", [(item(1), choice())], expected=(1, 0))
    assert caught.value.standing is not None
    assert caught.value.standing.event == first
    assert stands(store, 1) == {"a": ("rain",)}
    assert store.n_undoable("o", "a") == 1


def test_a_failure_halfway_writes_nothing(store: Store) -> None:
    def broken():  # type: ignore[no-untyped-def]
        yield item(1), choice("rain")
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError):
        store.decide("o", "a", "bulk accept", broken())
    assert store.standing("o") == []
    assert store.last_event() == 0


def test_changes_name_what_decisions_and_undo_touched(store: Store) -> None:
    event = store.decide("o", "a", "accept", [(item(1), choice("rain")), (item(2), choice("rain"))])
    assert {(c.row, c.standing.event if c.standing else None) for c in store.changes("o", 0)} == {(1, event), (2, event)}
    store.undo("o", "a")
    assert {(c.row, c.standing) for c in store.changes("o", event)} == {(1, None), (2, None)}
    assert store.changes("o", store.last_event()) == []


def test_threads_and_a_second_opening_write_side_by_side(store: Store) -> None:
    other = Store(store.path)

    def work(target: Store, reviewer: str) -> None:
        for n in range(40):
            target.decide("o", reviewer, "accept", [(item(n), choice("rain"))])

    threads = [threading.Thread(target=work, args=(s, f"{i}")) for i, s in enumerate((store, store, other, other))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.standing("o")) == 160
    other.close()


def test_what_was_decided_before_a_kill_is_there(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from narratives.review.store import Store\n"
        "from tests.review.conftest import choice, item\n"
        "store = Store(sys.argv[1])\n"
        "store.decide('o', 'a', 'accept', [(item(1), choice('rain'))])\n"
        "def half():\n"
        "    yield item(2), choice('rain')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "store.decide('o', 'a', 'bulk', half())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "d.sqlite")], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert [s.row for s in Store(tmp_path / "d.sqlite").standing("o")] == [1]


def test_another_file_is_not_taken_for_decisions(tmp_path: Path) -> None:
    (tmp_path / "text.sqlite").write_text("not a database, but long enough to be looked at " * 5)
    with pytest.raises(InputError, match=r"text.sqlite: is no file of decisions .*; expected one that `narratives review` wrote"):
        Store(tmp_path / "text.sqlite")
    foreign = sqlite3.connect(tmp_path / "foreign.sqlite")
    foreign.execute("CREATE TABLE t(x)")
    foreign.commit()
    foreign.close()
    with pytest.raises(InputError, match="has decisions of format 0, expected 1"):
        Store(tmp_path / "foreign.sqlite")
