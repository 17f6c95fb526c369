"""Precision, agreement and disagreements, against counts made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from narratives.review.figures import measure
from narratives.review.store import Store
from tests.review.conftest import choice, item

LABELS = ("rain", "snow")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "d.sqlite")


def test_precision_is_the_share_of_read_posts_that_keep_the_label(store: Store) -> None:
    for row in range(8):
        store.decide("o", "a", "accept", [(item(row, ("rain",)), choice("rain"))])
    store.decide("o", "a", "reject", [(item(8, ("rain",)), choice())])
    store.decide("o", "a", "correct", [(item(9, ("rain",)), choice("snow", verdict="correct"))])
    found = measure(store, "o", LABELS).precision
    assert (found["rain"].n_right, found["rain"].n) == (8, 10)
    # Wilson's interval of 8 in 10, as in Newcombe (1998) to three digits.
    assert (round(found["rain"].low, 3), round(found["rain"].high, 3)) == (0.490, 0.943)
    assert found["snow"].n == 0


def test_copies_count_once_and_bulk_skips_and_notes_not_at_all(store: Store) -> None:
    copies = [(item(row, ("rain",), cluster=0), choice("rain", seen=row == 0)) for row in range(5)]
    store.decide("o", "a", "accept", copies)
    store.decide("o", "a", "bulk accept", [(item(row, ("rain",)), choice("rain", seen=False)) for row in range(10, 20)])
    store.decide("o", "a", "skip", [(item(30, ("rain",)), choice("rain", verdict="skip"))])
    store.decide("o", "a", "note", [(item(31, ("rain",)), choice("rain", verdict="note", note="?"))])
    found = measure(store, "o", LABELS)
    assert (found.precision["rain"].n, found.n_read, found.n_bulk) == (1, 1, 10)
    assert found.reviewers == {"a": 11}


def test_alpha_is_of_posts_that_two_read(store: Store) -> None:
    readings = [("rain", "rain"), ("rain", ""), ("", ""), ("", "")]
    for row, said in enumerate(readings):
        for reviewer, label in zip("ab", said, strict=True):
            store.decide("o", reviewer, "accept", [(item(row), choice(label) if label else choice())])
    store.decide("o", "a", "accept", [(item(9), choice("rain"))])
    found = measure(store, "o", LABELS)
    assert (found.n_twice, found.n_same, found.n_disagreements) == (4, 3, 1)
    # Values: rain 3, none 5 of 8; expected disagreement 2*3*5/(8*7), observed 2/8.
    assert found.alpha["rain"] == pytest.approx(1 - 0.25 / (30 / 56))
    assert found.alpha["snow"] is None


def test_a_settled_disagreement_is_settled(store: Store) -> None:
    store.decide("o", "a", "accept", [(item(1, ("rain",)), choice("rain"))])
    store.decide("o", "b", "reject", [(item(1, ("rain",)), choice())])
    assert measure(store, "o", LABELS).precision["rain"].n == 0, "in dispute: nobody knows"
    store.decide("o", "b", "accept", [(item(1, ("rain",)), choice("rain", stance="reports", settles=True))])
    found = measure(store, "o", LABELS)
    assert (found.precision["rain"].n_right, found.precision["rain"].n, found.n_disagreements) == (1, 1, 0)
