"""Training, from a folder of annotated posts to a bundle: one function that reads top to bottom."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt

from narratives import plugins
from narratives.backends.linear import LinearModel
from narratives.bundle import Calibration, ModelBundle, Reading, quantise
from narratives.config import OperatingPoint, ScoreConfig, TrainConfig
from narratives.errors import MissingDependency
from narratives.records import STANCES, Post, Prediction
from narratives.scorer import Scorer
from narratives.taxonomy import Taxonomy
from narratives.training.background import Background, read_background
from narratives.training.calibration import fit_calibration, fit_temperature
from narratives.training.card import model_card
from narratives.training.corpus import NO_STANCE, Split, group_of, label_targets, split_corpus, stance_targets
from narratives.training.features import read_texts
from narratives.training.metrics import average_precision, evaluate
from narratives.training.screen import choose_threshold, fit_screen

if TYPE_CHECKING:
    from narratives.backends.torch import NarrativeModel
    from narratives.training.fit import OnProgress

FloatArray = npt.NDArray[np.float32]
MAX_HELD_OUT = 3000
"""Real posts of each held-out half that are scored to count false alarms: enough for a share of 1% within 0.4%."""
_JOIN_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
"""How much a joined TF-IDF model may count beside the encoder; in this order, so that of equal ones the least is taken."""
LINEAR = "linear"
"""As `base_model`: TF-IDF and logistic regression instead of an encoder."""


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
        posts: annotated posts (`corpus.read_corpus`).
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
        make = _fit_linear if config.base_model == LINEAR else _fit_encoder
        bundle, extra_files = make(split, real, taxonomy, taxonomy_text, folder, scratch, config, on_progress, say)
        if bundle.kind != "linear" and config.linear_part:
            say("joining a TF-IDF model")
            bundle = join_linear(bundle.save_pretrained(folder, extra_files=extra_files), split, real)
        bundle = finish(bundle, split, real, folder, extra_files, command=command, started=started, say=say)
    shutil.rmtree(_state_folder(folder), ignore_errors=True)
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
    # Written posts without a label stand for real ones only where there are none of these.
    weights = np.full(len(chosen_on), 1.0 if real.validation else bundle.train_config.background_weight, dtype=np.float32)
    targets = label_targets(chosen_on, bundle.taxonomy)
    calibration = fit_calibration(logits[0], targets, logits[1], stance_targets(chosen_on), weights=weights)
    bundle = dataclasses.replace(bundle, calibration=calibration)
    n_written = len(split.validation)
    screen_logits = read_by_screen(bundle, chosen_on)
    screen: dict[str, Any] = {}

    def with_screen(bundle: ModelBundle) -> tuple[ModelBundle, dict[str, Any]]:
        if screen_logits is None:
            return bundle, {}
        return calibrate_screen(bundle, screen_logits[:n_written], bundle.calibration.probabilities(logits[0][:n_written]))

    bundle, screen = with_screen(bundle)
    if screen_logits is not None and (threshold := bundle.calibration.screen_threshold) is not None:
        # Dumps are screened before thresholds decide, so what the screen drops of the real posts is no false alarm. Thresholds chosen
        # with that in mind flag more posts, and the screen must let these through: it is set again.
        unseen = (np.arange(len(chosen_on)) >= n_written) & (screen_logits < threshold)
        calibration = fit_calibration(logits[0], targets, logits[1], stance_targets(chosen_on), weights=weights, unseen=unseen)
        bundle, screen = with_screen(dataclasses.replace(bundle, calibration=calibration))
    say("comparing the fast backends with torch")
    agreement = check_agreement(bundle, chosen_on, logits[0]) if bundle.kind != "linear" else {}
    bundle = dataclasses.replace(bundle, agreement=agreement).save_pretrained(folder, extra_files=extra_files)

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


def read_by_screen(bundle: ModelBundle, posts: Sequence[Post]) -> FloatArray | None:
    """The screen's logit of each post, shape (n_posts,); None for a bundle without a screen."""
    part = bundle.linear_part()
    if part is None or "screen.bias" not in part:
        return None
    found: FloatArray = LinearModel(part).outputs(read_texts(posts))["screen"][:, 0]
    return found


def calibrate_screen(bundle: ModelBundle, screen_logits: FloatArray, probabilities: FloatArray) -> tuple[ModelBundle, dict[str, Any]]:
    """Set the threshold of a bundle's screen, if posts are enough; and what they say of it.

    Args:
        screen_logits: shape (n_posts,), of annotated posts neither trained on nor measured on. Not of real ones: what is flagged among
            these is mostly a false alarm, and the screen may drop it.
        probabilities: the whole model's, shape (n_posts, n_labels).
    """
    flagged = np.asarray((probabilities >= np.array(bundle.calibration.thresholds)).any(axis=1))
    chosen = choose_threshold(screen_logits, flagged)
    if chosen is None:
        return bundle, {}
    threshold, figures = chosen
    return dataclasses.replace(bundle, calibration=dataclasses.replace(bundle.calibration, screen_threshold=threshold)), dict(figures)


def _passes(bundle: ModelBundle, posts: Sequence[Post]) -> npt.NDArray[np.bool_]:
    logits, threshold = read_by_screen(bundle, posts), bundle.calibration.screen_threshold
    return np.ones(len(posts), dtype=np.bool_) if logits is None or threshold is None else logits >= threshold


def measure_screen(bundle: ModelBundle, sets: Mapping[str, Sequence[Prediction]]) -> dict[str, Any]:
    """How many posts of each set the whole model flags, how many of these the screen drops, and how many it lets through in all.

    Args:
        sets: what the whole model predicts of them, not screened.
    """
    found = {}
    for name, predictions in sets.items():
        passed = _passes(bundle, [p.post for p in predictions])
        flagged = np.array([bool(p.labels) for p in predictions], dtype=np.bool_)
        found[name] = {
            "n_posts": len(predictions),
            "n_passed": int(passed.sum()),
            "n_flagged": int(flagged.sum()),
            "n_missed": int((flagged & ~passed).sum()),
        }
    return {"sets": found}


def _state_folder(folder: Path) -> Path:
    return folder.with_name(folder.name + ".training")


def _fit_linear(
    split: Split,
    real: Background,
    taxonomy: Taxonomy,
    text: str,
    folder: Path,
    scratch: Path,
    config: TrainConfig,
    on_progress: OnProgress,
    say: Callable[[str], None],
) -> tuple[ModelBundle, dict[str, Path]]:
    from narratives.training.linear import fit_linear

    say("fitting TF-IDF and logistic regression")
    weights = fit_linear([*split.train, *real.train], taxonomy, seed=config.seed)
    return _unmeasured(
        folder, taxonomy, text, config, "linear", "", Reading(max_length=100_000, latin_kazakh_to_cyrillic=True), weights
    ), {}


def _fit_encoder(
    split: Split,
    real: Background,
    taxonomy: Taxonomy,
    text: str,
    folder: Path,
    scratch: Path,
    config: TrainConfig,
    on_progress: OnProgress,
    say: Callable[[str], None],
) -> tuple[ModelBundle, dict[str, Path]]:
    try:
        from narratives.backends.torch import NarrativeModel
        from narratives.encoders import bundled, hub
        from narratives.training.fit import fit
    except ImportError as error:
        raise MissingDependency(error.name or "torch", "train") from error

    say(f"loading {config.base_model}")
    is_bundled = config.base_model == bundled.NAME
    encoder, tokenizer = bundled.load_model() if is_bundled else hub.load_model(config.base_model)
    positions = int(getattr(encoder.config, "max_position_embeddings", config.max_length))
    pad_id = int(tokenizer.pad_token_id or 0)
    # XLM-R's positions start after the padding id: its 514 hold 512 tokens.
    usable = positions - (pad_id + 1 if encoder.config.model_type in {"xlm-roberta", "roberta", "camembert"} else 0)
    config = dataclasses.replace(config, max_length=min(config.max_length, usable))
    prefix = bundled.PREFIX if is_bundled else ""
    model = NarrativeModel(encoder, n_labels=len(taxonomy), n_stances=len(STANCES), dropout=config.dropout)
    fit(
        model,
        tokenizer.backend_tokenizer,
        prefix=prefix,
        pad_id=pad_id,
        train=[*split.train, *real.train],
        validation=[*split.validation, *real.validation],
        taxonomy=taxonomy,
        config=config,
        checkpoint=_state_folder(folder),
        on_progress=on_progress,
    )
    heads = {name: value.float().numpy() for name, value in model.folded_heads().items()}
    state = {name: value.detach().float().numpy() for name, value in model.encoder.state_dict().items() if value.is_floating_point()}
    reading = Reading(max_length=config.max_length, prefix=prefix, pad_id=pad_id, latin_kazakh_to_cyrillic=True)
    if is_bundled:
        _shape, base = bundled.read_weights()
        weights = {**heads, **difference(base, state)}
        return _unmeasured(folder, taxonomy, text, config, "difference", bundled.SHA256, reading, weights), {}

    say("exporting the runtime graph")
    weights = {**heads, **{f"encoder.{name}": value for name, value in state.items()}}
    backend_tokenizer = tokenizer.backend_tokenizer
    backend_tokenizer.no_truncation()
    backend_tokenizer.no_padding()
    backend_tokenizer.save(str(scratch / "tokenizer.json"))
    encoder.config.save_pretrained(scratch)
    export_graph(model, scratch / "model.onnx")
    extra = {name: scratch / name for name in ("tokenizer.json", "config.json", "model.onnx")}
    return _unmeasured(folder, taxonomy, text, config, "whole", "", reading, weights), extra


def export_graph(model: NarrativeModel, path: Path) -> None:
    """Write encoder and heads as the ONNX graph that backends run."""
    import torch

    example = torch.ones((2, 8), dtype=torch.long)
    with warnings.catch_warnings():
        # The newer exporter needs another package; this one is deprecated and exact.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            model.eval(),
            (example, example),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["input_ids", "attention_mask"],
            output_names=["label_logits", "stance_logits"],
            dynamic_axes={name: {0: "n", 1: "length"} for name in ("input_ids", "attention_mask")}
            | {name: {0: "n"} for name in ("label_logits", "stance_logits")},
        )


def difference(base: Mapping[str, FloatArray], trained: Mapping[str, FloatArray]) -> dict[str, npt.NDArray[Any]]:
    """What training changed, as a bundle stores it: matrices in 8 bits with a scale per row, vectors in float32."""
    weights: dict[str, npt.NDArray[Any]] = {}
    for name, value in trained.items():
        delta = value - base[name]
        if not delta.any():
            continue
        if delta.ndim == 2:
            weights[f"difference.{name}"], weights[f"difference.{name}.scale"] = quantise(delta)
        else:
            weights[f"difference.{name}"] = delta
    return weights


def _unmeasured(
    folder: Path,
    taxonomy: Taxonomy,
    text: str,
    config: TrainConfig,
    kind: Any,
    base_sha256: str,
    reading: Reading,
    weights: Mapping[str, Any],
) -> ModelBundle:
    return ModelBundle(
        name=folder.name,
        taxonomy=taxonomy,
        taxonomy_text=text,
        kind=kind,
        base_model=config.base_model,
        base_sha256=base_sha256,
        reading=reading,
        calibration=Calibration.identity(len(taxonomy)),
        train_config=config,
        metrics={},
        card="Not measured yet.\n",
        weights=weights,
    )


def raw_logits(bundle: ModelBundle, posts: Sequence[Post], config: ScoreConfig) -> tuple[FloatArray, FloatArray]:
    """Label and stance logits of posts as the scorer reads them (cleaned, in windows), before any calibration."""
    plain = dataclasses.replace(bundle, calibration=Calibration.identity(len(bundle.labels)))
    scorer = Scorer.from_bundle(plain, config=config)
    predictions = scorer.predict(posts)
    labels = np.array([[p.probabilities[i] for i in bundle.labels] for p in predictions], dtype=np.float64)
    stances = np.array([[p.stance_probabilities.get(s, 1 / 3) for s in STANCES] for p in predictions], dtype=np.float64)
    labels, stances = np.clip(labels, 1e-7, 1 - 1e-7), np.clip(stances, 1e-7, 1)
    return np.log(labels / (1 - labels)).astype(np.float32), np.log(stances).astype(np.float32)


def check_agreement(bundle: ModelBundle, posts: Sequence[Post], reference: FloatArray) -> dict[str, dict[str, object]]:
    """Share of decisions (post x label) in which each fast backend differs from torch in float32.

    Args:
        reference: torch's label logits of the same posts.
    """
    thresholds = np.array(bundle.calibration.thresholds, dtype=np.float32)
    expected = bundle.calibration.probabilities(reference)
    result: dict[str, dict[str, object]] = {}
    for name in ("openvino", "onnx"):
        config = ScoreConfig(backend=name, evidence=False)
        backend = plugins.load("backend", plugins.BACKENDS, name)(bundle.runtime(), config)
        found = Scorer(bundle, config, backend).predict_proba(posts)
        flipped = (found >= thresholds) != (expected >= thresholds)
        result[name] = {
            "precision": backend.precision,
            "flipped_share": float(flipped.mean()),
            "largest_probability_difference": float(np.abs(found - expected).max()),
            "n_decisions": int(flipped.size),
        }
    return result


def measure_background(bundle: ModelBundle, real: Background, sets: Mapping[str, Sequence[Prediction]]) -> dict[str, object]:
    """False alarms on real posts of sources not trained on: what is flagged there, counted as if none carried a narrative.

    Args:
        sets: what the whole model predicts of `real.held_out`, by file.
    """
    held_out: dict[str, object] = {}
    for name, predictions in sets.items():
        flagged = [p for p in predictions if p.labels]
        held_out[name] = {
            "sha256": real.digests[name],
            "n_posts": len(predictions),
            "n_flagged": len(flagged),
            "n_flagged_screened": int(_passes(bundle, [p.post for p in flagged]).sum()),
            "n_endorses": sum(p.stance == "endorses" for p in flagged),
            "by_label": {i: n for i in bundle.labels if (n := sum(i in p.labels for p in flagged))},
        }
    return {"n_train": len(real.train), "n_validation": len(real.validation), "held_out": held_out}


def measure_point(
    bundle: ModelBundle,
    name: OperatingPoint,
    posts: Sequence[Post],
    predictions: Sequence[Prediction],
    held_out: Mapping[str, Sequence[Prediction]],
) -> dict[str, object]:
    """Micro-averaged precision and recall of an operating point on annotated posts, and how much of held-out real posts it flags, as
    `narratives score` does: screened, but for `high_recall`."""
    thresholds = np.array(bundle.calibration.at(name), dtype=np.float32)
    flags = _probabilities(bundle, predictions) >= thresholds
    targets = label_targets(posts, bundle.taxonomy)
    n_right, n_flagged, n_true = int((flags & targets).sum()), int(flags.sum()), int(targets.sum())
    real = [prediction for predictions_ in held_out.values() for prediction in predictions_]
    alarms = (_probabilities(bundle, real) >= thresholds).any(axis=1)
    if name != "high_recall":
        alarms &= _passes(bundle, [p.post for p in real])
    return {
        "precision": n_right / n_flagged if n_flagged else None,
        "recall": n_right / n_true if n_true else None,
        "real_flagged_share": float(alarms.mean()) if real else None,
        "n_real": len(real),
    }


def _probabilities(bundle: ModelBundle, predictions: Sequence[Prediction]) -> FloatArray:
    rows = [[p.probabilities[i] for i in bundle.labels] for p in predictions]
    return np.array(rows, dtype=np.float32).reshape(-1, len(bundle.labels))


def measure(scorer: Scorer, posts: Sequence[Post], predictions: Sequence[Prediction] | None = None) -> dict[str, object]:
    """Every figure of `metrics.evaluate` for these annotated posts, read exactly as a user's would be.

    Args:
        predictions: of these posts, by this scorer, if they are at hand.
    """
    predictions = scorer.predict(posts) if predictions is None else predictions
    taxonomy, calibration = scorer.taxonomy, scorer.bundle.calibration
    stances = stance_targets(posts)
    return evaluate(
        label_ids=taxonomy.ids,
        targets=label_targets(posts, taxonomy),
        probabilities=_probabilities(scorer.bundle, predictions),
        predicted=np.array([[i in p.labels for i in taxonomy.ids] for p in predictions], dtype=bool),
        stance_targets=stances if calibration.has_stance else np.full_like(stances, NO_STANCE),
        stance_predictions=np.array(
            [int(np.argmax([p.stance_probabilities.get(s, 0.0) for s in STANCES])) for p in predictions], dtype=np.int64
        ),
        languages=[post.language or "unknown" for post in posts],
        groups=[group_of(post) for post in posts],
    )
