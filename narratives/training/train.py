"""Training, from annotated posts to a bundle: one function that reads top to bottom."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt

from narratives.backends.linear import LinearModel
from narratives.bundle import ModelBundle
from narratives.config import OperatingPoint, ScoreConfig, TrainConfig
from narratives.records import Post
from narratives.scorer import Scorer
from narratives.taxonomy import Taxonomy
from narratives.training.background import Background, read_background
from narratives.training.calibration import fit_calibration, fit_temperature
from narratives.training.card import model_card
from narratives.training.corpus import NO_STANCE, Split, group_of, label_targets, split_corpus, stance_targets
from narratives.training.features import read_texts
from narratives.training.fit_bundle import LINEAR, fit_encoder_bundle, fit_linear_bundle
from narratives.training.measure import compare_backends, measure, measure_background, measure_point, measure_screen, raw_logits
from narratives.training.metrics import average_precision
from narratives.training.screen import calibrate_screen, fit_screen, read_by_screen

if TYPE_CHECKING:
    from narratives.training.fit import OnProgress

FloatArray = npt.NDArray[np.float32]
MAX_HELD_OUT = 3000
"""Real posts of each held-out half that are scored to count false alarms: enough for a share of 1% within 0.4%."""
_JOIN_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
"""How much a joined TF-IDF model may count beside the encoder; in this order, so that of equal ones the least is taken."""


def train(
    posts: Sequence[Post],
    taxonomy: Taxonomy,
    taxonomy_text: str,
    folder: str | Path,
    *,
    config: TrainConfig,
    background: Sequence[str | Path] = (),
    split: Split | None = None,
    command: str = "",
    on_progress: OnProgress = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> ModelBundle:
    """Split, fit, calibrate, evaluate, save.

    Args:
        posts: annotated posts (`loaders.read_annotated`).
        folder: where the bundle goes; `<folder>.training` holds the state to resume from until it is done.
        background: dumps of real posts to take as posts without a label (`background.py`); none is needed.
        split: parts that were chosen elsewhere; None: by group, as `split_corpus` does.
        command: what the model card gives as the way to train it again.
        on_progress: told after each optimiser step.
        say: gets a line of text before each stage.

    Raises:
        ConfigError: too few groups to split, or an unknown base model.
        MissingDependency: `narratives[train]` is not installed.
    """
    folder = Path(folder)
    state = folder.with_name(folder.name + ".training")
    started = time.monotonic()
    split = split or split_corpus(posts, taxonomy, validation_share=config.validation_share, seed=config.seed)
    real = Background()
    if background:
        n_train, n_validation, n_screen = config.background_posts, config.background_validation_posts, config.background_screen_posts
        real = read_background(background, n_posts=n_train, n_validation=n_validation, n_screen=n_screen)
        say(f"{len(real.train)} real posts to train on as posts without a label, {len(real.validation)} to set thresholds")
    say(f"{len(split.train)} posts to train on, {len(split.validation)} to choose on, {len(split.test)} to measure on")
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        extra_files: dict[str, Path] = {}
        if config.base_model == LINEAR:
            say("fitting TF-IDF and logistic regression")
            bundle = fit_linear_bundle(split, real, taxonomy, taxonomy_text, folder.name, config=config)
        else:
            bundle, extra_files = fit_encoder_bundle(
                split,
                real,
                taxonomy,
                taxonomy_text,
                folder.name,
                config=config,
                state=state,
                scratch=scratch,
                on_progress=on_progress,
                say=say,
            )
        if bundle.kind != "linear" and config.linear_part:
            say("joining a TF-IDF model")
            bundle = join_linear(bundle.save_pretrained(folder, extra_files=extra_files), split, real)
        bundle = finish(bundle, split, real, folder, extra_files, command=command, started=started, say=say)
    shutil.rmtree(state, ignore_errors=True)
    return bundle


def join_linear(bundle: ModelBundle, split: Split, real: Background) -> ModelBundle:
    """Fit a TF-IDF model to the training posts and add it to a fitted encoder's bundle, multiplied by what validation posts favour.

    For labels that is the weight with the best mean average precision of the summed logits, for the stance the one with the least
    log loss: one number each, so that labels with few validation posts cannot overfit it. With real posts to learn from, the bundle gets
    a screen too; its threshold comes with the calibration.
    """
    from narratives.training.linear import fit_linear

    weights = dict(fit_linear([*split.train, *real.train], bundle.taxonomy, seed=bundle.train_config.seed))
    chosen_on = [*split.validation, *real.validation]
    labels, stances = raw_logits(bundle, chosen_on, ScoreConfig(evidence=False))
    beside = LinearModel(weights).logits(read_texts(chosen_on))
    targets, truth = label_targets(chosen_on, bundle.taxonomy), stance_targets(chosen_on)
    known = truth != NO_STANCE

    def precision(weight: float) -> float:
        logits = labels + weight * beside.labels
        found = [average_precision(targets[:, i], logits[:, i]) for i in range(targets.shape[1]) if targets[:, i].any()]
        return float(np.mean(found)) if found else 0.0

    def stance_loss(weight: float) -> float:
        return fit_temperature(stances[known] + weight * beside.stances[known], truth[known])[1] if known.any() else 0.0

    for_labels, for_stance = max(_JOIN_WEIGHTS, key=precision), min(_JOIN_WEIGHTS, key=stance_loss)
    for head, weight in (("labels", for_labels), ("stance", for_stance)):
        weights[f"{head}.weight"] = (weights[f"{head}.weight"].astype(np.float32) * weight).astype(np.float16)
        weights[f"{head}.bias"] = weights[f"{head}.bias"] * np.float32(weight)
    figures = {
        "weight_of_labels": for_labels,
        "weight_of_stance": for_stance,
        "validation_average_precision": {"encoder": precision(0.0), "joined": precision(for_labels)},
    }
    if real.train:
        seen = [*real.train, *real.validation, *real.screen]
        screen = fit_screen(split.train, seen, weights["idf"], seed=bundle.train_config.seed)
        weights |= {f"screen.{name}": value for name, value in screen.items()}
    return dataclasses.replace(
        bundle,
        weights={**bundle.weights, **{f"joined.{name}": value for name, value in weights.items()}},
        metrics={**bundle.metrics, "linear_part": figures},
    )


def finish(
    bundle: ModelBundle,
    split: Split,
    real: Background,
    folder: Path,
    extra_files: Mapping[str, Path],
    *,
    command: str,
    started: float,
    say: Callable[[str], None] = lambda _: None,
) -> ModelBundle:
    """Calibrate a fitted bundle, compare its backends, measure it, write its card, save it.

    `started` is `time.monotonic()` from before it was fitted.
    """
    say("calibrating on validation posts")
    # Saved once before it is measured: what is measured is what is shipped, 8-bit differences and all.
    bundle = bundle.save_pretrained(folder, extra_files=extra_files)
    reference = ScoreConfig(backend="linear" if bundle.kind == "linear" else "torch", evidence=False)
    chosen_on = [*split.validation, *real.validation]
    logits = raw_logits(bundle, chosen_on, reference)
    # A dump is mostly ordinary posts: what stands for these counts more. Written posts without a label do where there are no real ones.
    weights = np.ones(len(chosen_on), dtype=np.float32)
    weights[len(split.validation) if real.validation else 0 :] = bundle.train_config.background_weight
    targets = label_targets(chosen_on, bundle.taxonomy)
    calibration = fit_calibration(logits[0], targets, logits[1], stance_targets(chosen_on), weights=weights)
    bundle = dataclasses.replace(bundle, calibration=calibration)
    screen: dict[str, Any] = {}
    if (screen_logits := read_by_screen(bundle, split.validation)) is not None:
        bundle, screen = calibrate_screen(bundle, screen_logits, calibration.probabilities(logits[0][: len(split.validation)]))
    say("comparing the fast backends with torch")
    bundle = compare_backends(bundle, chosen_on, logits[0], seen=[*split.train, *real.train])
    bundle = bundle.save_pretrained(folder, extra_files=extra_files)

    say("measuring")
    scorer = Scorer.from_bundle(bundle, config=ScoreConfig(evidence=False))
    held_out = {name: scorer.predict(posts[:MAX_HELD_OUT]) for name, posts in real.held_out.items()}
    test = scorer.predict(split.test)
    metrics = {
        "command": command,
        "training_minutes": round((time.monotonic() - started) / 60, 1),
        "backend": f"{scorer.backend.name} {scorer.backend.precision}",
        "n_posts": {name: len(split.part(name)) for name in ("train", "validation", "test")},
        "n_groups": {name: len({group_of(p) for p in split.part(name)}) for name in ("train", "validation", "test")},
        "validation": measure(scorer, split.validation),
        "test": measure(scorer, split.test, test),
        "operating_points": {name: measure_point(bundle, name, split.test, test, held_out) for name in get_args(OperatingPoint)},
        "background": measure_background(bundle, real, held_out),
        "linear_part": bundle.metrics.get("linear_part"),
        "screen": screen | measure_screen(bundle, {"test": test, **held_out}) if screen else None,
    }
    bundle = dataclasses.replace(bundle, metrics=metrics)
    return dataclasses.replace(bundle, card=model_card(bundle)).save_pretrained(folder, extra_files=extra_files)
