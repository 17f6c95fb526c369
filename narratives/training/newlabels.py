"""New labels from few or many posts: from annotated posts and a taxonomy to a bundle, with an encoder as it is or tuned, as a budget
allows.

    fast       the encoder stays as it is; heads, definitions and a TF-IDF model are weighed by cross-validation (`heads.py`)
    standard   the same, and an encoder whose top four layers are tuned on four fifths of the posts; kept if better on the last fifth
    thorough   as standard, with all layers and more passes

`train.py` is the journey for a corpus of thousands of posts by events, with background posts and a screen; this one is for everybody's own
labels, and starts from what there is: eight posts a label, or a bundle that knows other labels already.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from narratives.bundle import Calibration, ModelBundle
from narratives.config import BackendName, ScoreConfig, TrainConfig
from narratives.errors import ConfigError
from narratives.records import STANCES, Post
from narratives.scorer import Scorer
from narratives.taxonomy import Taxonomy
from narratives.training.calibration import choose_thresholds, fit_calibration, fit_temperature, high_precision_thresholds
from narratives.training.corpus import NO_STANCE, BoolArray, IntArray, group_of, is_test_group, label_targets, stance_targets
from narratives.training.features import Pool, pool_with, read_texts
from narratives.training.heads import Heads, as_figures, fit_heads, fit_on, folds_of
from narratives.training.label_bundle import Fitted, assemble, base_of, only_new
from narratives.training.measure import compare_backends, measure, raw_logits
from narratives.training.metrics import evaluate
from narratives.training.tune import compare_tuned, tune

if TYPE_CHECKING:
    from narratives.training.fit import OnProgress

Budget = Literal["fast", "standard", "thorough"]
FloatArray = npt.NDArray[np.float32]

MIN_FOR_TEST = 400
"""From so many posts on a fifth is held out to measure on; fewer are all trained on, and measured by cross-validation."""
MAX_CALIBRATED = 3000
MAX_COMPARED = 128
"""Posts on which backends are compared."""
TUNED: dict[str, dict[str, Any]] = {
    "standard": {"train_layers": 4, "epochs": 3, "patience": 2, "contrastive_epochs": 2, "augment": 0.0},
    "thorough": {"train_layers": 12, "epochs": 6, "patience": 3, "contrastive_epochs": 2, "augment": 0.2},
}


def train_labels(
    posts: Sequence[Post],
    parts: Sequence[str | None],
    taxonomy: Taxonomy,
    folder: str | Path,
    *,
    budget: Budget = "fast",
    config: TrainConfig | None = None,
    start: ModelBundle | None = None,
    command: str = "",
    on_progress: OnProgress = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> ModelBundle:
    """Train a bundle on labels of your own.

    Args:
        posts: annotated posts.
        config: None: `config_for(budget)`; a config that is given holds as it is, whatever the budget.
        parts: the part of a split each came with, or None: "test" posts are measured on, all others trained on. Without any, a fifth is
            held out by hash of the group where there are `MIN_FOR_TEST` posts.
        start: a trained bundle: its encoder, labels and stance stay as they are, labels that it lacks are added.

    Raises:
        ConfigError: there is no post to train on, or `start` cannot take labels.
        MissingDependency: `narratives[train]` is not installed.
    """
    folder, config = Path(folder), config or config_for(budget)
    started = time.monotonic()
    if start is not None:
        if budget != "fast":
            raise ConfigError(f"a bundle to start from keeps its encoder as it is, and the budget {budget} tunes one; expected fast")
        taxonomy = only_new(taxonomy, start)
    train, test = split_posts(posts, parts)
    say(f"{len(train)} posts to train on, {len(test) or 'none'} to measure on{'' if test else ': too few to hold any out'}")
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        body = start or base_of(config, scratch)
        fitted = fit_labels(train, taxonomy, body, budget=budget, config=config, scratch=scratch, on_progress=on_progress, say=say)
        bundle, extra = assemble(fitted, taxonomy, folder.name, config, start, scratch)
        bundle = bundle.save_pretrained(folder, extra_files=extra)
        say("comparing backends")
        # What a bundle to start from says of its own labels is to stay: its ranges, or that it has none, do too.
        bundle = _compared(bundle, train, seen=[] if start else train).save_pretrained(folder, extra_files=extra)
        say("measuring")
        metrics = _measured(bundle, fitted, taxonomy, train, test) | {
            "command": command,
            "budget": budget,
            "started_from": start.model_id if start else None,
            "kept_labels": list(start.labels) if start else [],
            "training_minutes": round((time.monotonic() - started) / 60, 2),
            "n_posts": {"train": len(train), "test": len(test)},
            "n_by_label": {i: int(n) for i, n in zip(taxonomy.ids, label_targets(train, taxonomy).sum(axis=0), strict=True)},
            "choices": fitted.figures,
        }
        from narratives.training.label_card import label_card

        bundle = dataclasses.replace(bundle, metrics={"new_labels": metrics})
        bundle = dataclasses.replace(bundle, card=label_card(bundle)).save_pretrained(folder, extra_files=extra)
    shutil.rmtree(folder.with_name(folder.name + ".training"), ignore_errors=True)
    return bundle


def config_for(budget: Budget, given: Mapping[str, object] | None = None) -> TrainConfig:
    """The settings of a budget; those that are `given` by name win.

    Raises:
        UnknownName, ConfigError: one of these is no setting, or out of its range.
    """
    return TrainConfig.from_dict({**TUNED.get(budget, {}), **(given or {})})


def split_posts(posts: Sequence[Post], parts: Sequence[str | None]) -> tuple[list[Post], list[Post]]:
    """Posts to train on and posts to measure on; the latter may be none."""
    if any(part == "test" for part in parts):
        pairs = list(zip(posts, parts, strict=True))
        train, test = [p for p, part in pairs if part != "test"], [p for p, part in pairs if part == "test"]
    elif len(posts) >= MIN_FOR_TEST:
        test = [p for p in posts if is_test_group(group_of(p))]
        train = [p for p in posts if not is_test_group(group_of(p))]
    else:
        train, test = list(posts), []
    if not train:
        raise ConfigError("there is no post to train on; expected some outside the test part")
    return train, test


# ---- fitting ----------------------------------------------------------------------------------------------------------


def fit_labels(
    posts: Sequence[Post],
    taxonomy: Taxonomy,
    body: ModelBundle,
    *,
    budget: Budget = "fast",
    config: TrainConfig,
    scratch: Path,
    pool: Pool | None = None,
    on_progress: OnProgress = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> Fitted:
    """Fit heads to posts, with the encoder of `body` or, where the budget allows and a held-out fold favours it, with a tuned one.

    Args:
        scratch: a folder for what tuning keeps while it runs.
        pool: features of texts by the encoder of `body`, if the caller has them; None: `pool_with`.
    """
    texts, targets = read_texts(posts), label_targets(posts, taxonomy)
    if not targets.any():
        raise ConfigError("no post has a label; with definitions alone use `narratives rank`")
    folds = folds_of(posts, targets, seed=config.seed)
    if folds.max() < 1:
        raise ConfigError(f"{len(posts)} posts of one group cannot be cross-validated; expected two groups at least")
    say("reading the posts with the encoder")
    pool = pool or pool_with(body)
    part = body.linear_part()
    idf = None if part is None else part["idf"].astype(np.float32)
    figures: dict[str, Any] = {}
    own_heads = fit_on(posts, texts, pool, targets, folds, taxonomy, idf, say)
    if budget != "fast":
        tuned = tune(
            posts,
            taxonomy,
            body,
            folds,
            config=config,
            scratch=scratch,
            on_progress=on_progress,
            say=say,
        )
        figures["tuned"] = better = compare_tuned(posts, texts, targets, folds, taxonomy, pool, pool_with(tuned), say)
        if better["tuned"] > better["frozen"]:
            say("the tuned encoder is better on held-out posts")
            body, pool = tuned, pool_with(tuned)
            held = folds == 0
            # Only the fold that the tuned encoder did not see may choose and calibrate.
            own_heads = fit_on(posts, texts, pool, targets, folds, taxonomy, None, say, only_first=True)
            return _calibrated(posts, texts, pool, targets, taxonomy, own_heads, folds, body, figures, held)
        say("the tuned encoder is no better on held-out posts; the encoder stays as it is")
    return _calibrated(posts, texts, pool, targets, taxonomy, own_heads, folds, body, figures, np.ones(len(posts), dtype=bool))


def _calibrated(
    posts: Sequence[Post],
    texts: Sequence[str],
    pool: Pool,
    targets: BoolArray,
    taxonomy: Taxonomy,
    heads: Heads,
    folds: IntArray,
    body: ModelBundle,
    figures: dict[str, Any],
    counted: BoolArray,
) -> Fitted:
    """Calibrate on the out-of-fold logits of the posts `counted`, and fit the stance where it was annotated."""
    stances = stance_targets(posts)
    known = stances != NO_STANCE
    stance: Heads | None = None
    stance_logits = np.zeros((len(posts), len(STANCES)), dtype=np.float32)
    if known.sum() >= 10 and len(set(stances[known].tolist())) > 1:
        rows = np.flatnonzero(known)
        some = [posts[i] for i in rows.tolist()]
        one_hot = np.eye(len(STANCES), dtype=bool)[stances[rows]]
        stance_folds = folds_of(some, one_hot, seed=0)
        some_texts = [texts[i] for i in rows.tolist()]
        stance = fit_heads(some, some_texts, pool(some_texts), one_hot, stance_folds, described=None, exclusive=True, idf=heads.idf)
        stance_logits[rows] = stance.held_out
    rows = np.flatnonzero(counted)
    if len(rows) > MAX_CALIBRATED:
        rows = np.sort(np.random.default_rng(0).choice(rows, MAX_CALIBRATED, replace=False))
    calibration = calibrate(heads.held_out[rows], targets[rows], stance_logits[rows], stances[rows], single=taxonomy.single_label)
    calibration = dataclasses.replace(calibration, has_stance=stance is not None)
    figures = figures | {"labels": as_figures(heads.chosen), "stance": as_figures(stance.chosen) if stance else None}
    return Fitted(heads, stance, calibration, body, figures)


def calibrate(logits: FloatArray, targets: BoolArray, stance_logits: FloatArray, stances: IntArray, *, single: bool) -> Calibration:
    """As `fit_calibration`; where labels exclude each other, one temperature for all, and thresholds for the strongest label alone.

    Args:
        logits: out-of-fold, shape (n, n_labels); targets alike.
    """
    n_labels = targets.shape[1]
    if not single or n_labels == 1:
        return fit_calibration(logits, targets, stance_logits, stances)
    one = bool(targets.any(axis=1).all())
    over = logits if one else np.concatenate([logits, np.zeros_like(logits[:, :1])], axis=1)
    truth = np.where(targets.any(axis=1), targets.argmax(axis=1), n_labels)
    temperature = fit_temperature(over, truth.astype(np.int64))[0]
    known = stances != NO_STANCE
    made = Calibration(
        (1 / temperature,) * n_labels,
        (0.0,) * n_labels,
        (0.5,) * n_labels,
        fit_temperature(stance_logits[known], stances[known])[0] if known.sum() >= 5 else 1.0,
        exclusive="one" if one else "at most one",
    )
    probabilities = made.probabilities(logits)
    strongest = np.where(probabilities == probabilities.max(axis=1, keepdims=True), probabilities, 0.0).astype(np.float32)
    # The strongest of n probabilities that sum to 1 is never below 1/n.
    least = np.full(n_labels, np.floor(1e4 / n_labels) / 1e4 - 1e-4, dtype=np.float32)
    balanced = least if one else choose_thresholds(strongest, targets)
    precise = np.maximum(balanced, high_precision_thresholds(strongest, targets))
    points = {"high_precision": precise, "high_recall": np.minimum(balanced, least)}
    return dataclasses.replace(
        made,
        thresholds=tuple(round(float(t), 4) for t in balanced),
        operating_points={name: tuple(round(float(t), 4) for t in values) for name, values in points.items()},
        recall_guaranteed=(False,) * n_labels,
    )


# ---- measuring ----------------------------------------------------------------------------------------------------


def _compared(bundle: ModelBundle, train: Sequence[Post], *, seen: Sequence[Post]) -> ModelBundle:
    """With how far fast backends decide otherwise than float32: torch's where it is in the bundle, else onnxruntime's."""
    reference: BackendName = "torch" if bundle.kind == "whole" else "onnx"
    posts = train[:MAX_COMPARED]
    logits, _ = raw_logits(bundle, posts, ScoreConfig(backend=reference, evidence=False))
    bundle = compare_backends(bundle, posts, logits, seen=seen)
    agreement = {name: {**figures, "reference": reference} for name, figures in bundle.agreement.items()}
    return dataclasses.replace(bundle, agreement=agreement)


def _measured(bundle: ModelBundle, fitted: Fitted, taxonomy: Taxonomy, train: Sequence[Post], test: Sequence[Post]) -> dict[str, Any]:
    """Figures on the test part by the bundle as it is shipped; without one, of the out-of-fold logits that chose and calibrated."""
    if test:
        scorer = Scorer.from_bundle(bundle, config=ScoreConfig(evidence=False))
        return {"measured_on": "test", "figures": measure(scorer, _for(bundle, test))}
    stances = stance_targets(train)
    guess = np.zeros(len(train), dtype=np.int64)
    if fitted.stance is not None:
        guess[stances != NO_STANCE] = fitted.stance.held_out.argmax(axis=1)
    probabilities = fitted.calibration.probabilities(fitted.labels.held_out)
    figures = evaluate(
        label_ids=taxonomy.ids,
        targets=label_targets(train, taxonomy),
        probabilities=probabilities,
        predicted=fitted.calibration.decide(probabilities, np.array(fitted.calibration.thresholds)),
        stance_targets=stances if fitted.stance is not None else np.full_like(stances, NO_STANCE),
        stance_predictions=guess,
        languages=[post.language or "unknown" for post in train],
        groups=[group_of(post) for post in train],
    )
    return {"measured_on": "cross-validation", "figures": figures}


def _for(bundle: ModelBundle, posts: Sequence[Post]) -> list[Post]:
    return [dataclasses.replace(p, labels=tuple(i for i in p.labels or () if i in bundle.labels)) for p in posts]
