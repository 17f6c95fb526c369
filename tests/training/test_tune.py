"""Tuning for one's own labels: what it changes, what it refuses, and how it is compared. The tiny encoder stands for the shipped one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from narratives.encoders import bundled, hub
from narratives.errors import ConfigError
from narratives.records import Post
from narratives.taxonomy import Taxonomy
from narratives.training.corpus import label_targets
from narratives.training.features import Pool, base_bundle
from narratives.training.heads import folds_of
from narratives.training.tune import compare_tuned, tune
from tests.conftest import TINY

ONE_EPOCH = dataclasses.replace(TINY, epochs=1, train_layers=1, contrastive_epochs=0)


def silent(_: object) -> None: ...


def test_only_what_was_tuned_differs_from_the_base(
    posts: list[Post], weather: Taxonomy, tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, tokenizer = hub.load_model(tiny_encoder)
    base = {name: value.detach().numpy().copy() for name, value in encoder.state_dict().items() if value.is_floating_point()}
    monkeypatch.setattr(bundled, "load_model", lambda: (encoder, tokenizer))
    monkeypatch.setattr(bundled, "read_weights", lambda: (None, base))
    monkeypatch.setattr(bundled, "PAD_ID", 0)
    folds = folds_of(posts, label_targets(posts, weather), seed=0)
    tuned = tune(posts, weather, base_bundle(), folds, config=ONE_EPOCH, scratch=tmp_path, on_progress=silent, say=silent)
    changed = {name.removeprefix("difference.").removesuffix(".scale") for name in tuned.weights}
    assert changed
    assert all(name.startswith("encoder.layer.1.") for name in changed), "the layer below and the embeddings stay"


def test_another_base_model_is_not_tuned_here(posts: list[Post], weather: Taxonomy, tmp_path: Path) -> None:
    body = dataclasses.replace(base_bundle(), kind="whole")
    with pytest.raises(ConfigError, match="only the shipped encoder is tuned here; for another base model leave out --budget"):
        tune(posts, weather, body, np.zeros(len(posts), dtype=np.int64), config=ONE_EPOCH, scratch=tmp_path, on_progress=silent, say=silent)


def test_an_encoder_that_sees_more_is_found_better(posts: list[Post], weather: Taxonomy) -> None:
    targets = label_targets(posts, weather)
    folds = folds_of(posts, targets, seed=0)
    # No word twice: TF-IDF learns nothing, the encoder decides.
    texts = [f"слово{i}" for i in range(len(posts))]
    noise = np.random.default_rng(0).normal(size=(len(posts), 8))

    def pool(features: npt.NDArray[np.float64]) -> Pool:
        known = dict(zip(texts, features.astype(np.float32), strict=True))
        unknown = np.zeros(features.shape[1], dtype=np.float32)  # the words of definitions
        return lambda wanted: np.stack([known.get(text, unknown) for text in wanted])

    blind, sighted = pool(noise), pool(np.concatenate([noise, 3.0 * targets], axis=1))
    found = compare_tuned(posts, texts, targets, folds, weather, blind, sighted, silent)
    assert found["tuned"] > found["frozen"] + 0.2
    again = compare_tuned(posts, texts, targets, folds, weather, sighted, blind, silent)
    assert again == {"frozen": found["tuned"], "tuned": found["frozen"]}
