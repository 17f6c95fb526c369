"""The encoder tuned on posts of one's own labels, and whether it is better than as it was, on posts that it has not seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from narratives.bundle import Calibration, ModelBundle
from narratives.config import TrainConfig
from narratives.encoders import bundled
from narratives.errors import ConfigError, MissingDependency
from narratives.records import STANCES, Post
from narratives.taxonomy import Taxonomy
from narratives.training.corpus import BoolArray, IntArray
from narratives.training.features import Pool, base_bundle
from narratives.training.fit_bundle import difference
from narratives.training.heads import fit_on, folds_of, merit
from narratives.training.label_bundle import Fitted

if TYPE_CHECKING:
    from narratives.training.fit import OnProgress


def tune(
    posts: Sequence[Post],
    taxonomy: Taxonomy,
    body: ModelBundle,
    folds: IntArray,
    *,
    config: TrainConfig,
    scratch: Path,
    on_progress: OnProgress,
    say: Callable[[str], None],
) -> ModelBundle:
    """The encoder tuned on all posts but those of fold 0, which stop it: a contrastive pass, then its heads and top layers together."""
    try:
        from narratives.backends.torch import NarrativeModel
        from narratives.training.fit import fit
    except ImportError as error:
        raise MissingDependency(error.name or "torch", "train") from error
    if body.kind != "difference" or any(name.startswith("difference.") for name in body.weights):
        raise ConfigError("only the shipped encoder is tuned here; for another base model leave out --budget, or take --budget fast")
    say(f"tuning the top {config.train_layers} layers of the encoder")
    encoder, tokenizer = bundled.load_model()
    model = NarrativeModel(encoder, n_labels=len(taxonomy), n_stances=len(STANCES), dropout=config.dropout)
    fit(
        model,
        tokenizer.backend_tokenizer,
        prefix=bundled.PREFIX,
        pad_id=bundled.PAD_ID,
        train=[p for p, f in zip(posts, folds, strict=True) if f != 0],
        validation=[p for p, f in zip(posts, folds, strict=True) if f == 0],
        taxonomy=taxonomy,
        config=config,
        checkpoint=scratch / "tuning",
        on_progress=on_progress,
    )
    state = {name: value.detach().float().numpy() for name, value in model.encoder.state_dict().items() if value.is_floating_point()}
    _shape, base = bundled.read_weights()
    return dataclasses.replace(body, weights=difference(base, state))


def compare_tuned(
    posts: Sequence[Post],
    texts: Sequence[str],
    targets: BoolArray,
    folds: IntArray,
    taxonomy: Taxonomy,
    frozen: Pool,
    tuned: Pool,
    say: Callable[[str], None],
) -> dict[str, float]:
    """Merit of heads over both encoders on fold 0, each fitted to the other folds with choices made there."""
    held = folds == 0
    rows = np.flatnonzero(~held)
    rest, rest_texts, others = (
        [posts[i] for i in rows.tolist()],
        [texts[i] for i in rows.tolist()],
        [texts[i] for i in np.flatnonzero(held).tolist()],
    )
    found = {}
    for name, pool in (("frozen", frozen), ("tuned", tuned)):
        inner = folds_of(rest, targets[rows], seed=1)
        heads = fit_on(rest, rest_texts, pool, targets[rows], inner, taxonomy, None, lambda _: None)
        fitted = Fitted(heads, None, Calibration.identity(len(taxonomy)), base_bundle(), {})
        found[name] = merit(fitted.logits(others, pool), targets[held], exclusive=taxonomy.single_label and bool(targets.any(axis=1).all()))
    say(f"on held-out posts: encoder as it is {found['frozen']:.3f}, tuned {found['tuned']:.3f}")
    return found
