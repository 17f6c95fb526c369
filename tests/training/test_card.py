"""Figures measured after training go into the card, and change nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from narratives import Scorer
from narratives.bundle import ModelBundle, load
from narratives.errors import BundleError
from narratives.records import Post
from narratives.training.card import add_to_card
from narratives.training.measure import measure


def test_another_set_is_added_to_the_card(linear_bundle: ModelBundle, posts: list[Post], tmp_path: Path) -> None:
    assert linear_bundle.path is not None
    shutil.copytree(linear_bundle.path, tmp_path / "linear")
    bundle = load(tmp_path / "linear")
    figures = measure(Scorer.from_bundle(bundle), posts[:60])
    changed = add_to_card(bundle, "other_sets", {"challenge": figures})
    assert changed.digest == bundle.digest
    assert "| challenge | all | 60 |" in changed.card
    again = add_to_card(changed, "behaviour", [{"change": "lower case", "n": 4, "n_right": 3, "low": 0.3, "high": 0.9}])
    assert "| challenge | all | 60 |" in again.card
    assert "| lower case | 3 of 4, 75% [30%, 90%] |" in again.card


def test_a_bundle_that_was_never_saved_has_no_card_to_add_to(linear_bundle: ModelBundle) -> None:
    import dataclasses

    with pytest.raises(BundleError, match="never|not saved"):
        add_to_card(dataclasses.replace(linear_bundle, path=None), "behaviour", [])
