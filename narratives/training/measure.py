"""A bundle read on posts exactly as a user's would be: its logits, how far backends agree, and every figure of a card.

What is computed of arrays alone is `metrics.py`; curves and the errors worth reading are `evaluation.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from narratives import plugins
from narratives.bundle import INT8_GRAPH, Calibration, ModelBundle
from narratives.config import OperatingPoint, ScoreConfig
from narratives.records import STANCES, Post, Prediction
from narratives.scorer import MAX_FLIPPED, Scorer
from narratives.training.background import Background
from narratives.training.corpus import NO_STANCE, group_of, label_targets, stance_targets
from narratives.training.metrics import evaluate
from narratives.training.screen import passes

FloatArray = npt.NDArray[np.float32]
MIN_FOR_RANGES = 256
"""Posts from which the ranges of activations are measured: fewer would leave larger values to be met, and cut off, later."""


def raw_logits(bundle: ModelBundle, posts: Sequence[Post], config: ScoreConfig) -> tuple[FloatArray, FloatArray]:
    """Label and stance logits of posts as the scorer reads them (cleaned, in windows), before any calibration."""
    plain = dataclasses.replace(bundle, calibration=Calibration.identity(len(bundle.labels)))
    scorer = Scorer.from_bundle(plain, config=config)
    predictions = scorer.predict(posts)
    labels = np.array([[p.probabilities[i] for i in bundle.labels] for p in predictions], dtype=np.float64)
    stances = np.array([[p.stance_probabilities.get(s, 1 / 3) for s in STANCES] for p in predictions], dtype=np.float64)
    labels, stances = np.clip(labels, 1e-7, 1 - 1e-7), np.clip(stances, 1e-7, 1)
    return np.log(labels / (1 - labels)).astype(np.float32), np.log(stances).astype(np.float32)


def compare_backends(bundle: ModelBundle, posts: Sequence[Post], reference: FloatArray, *, seen: Sequence[Post]) -> ModelBundle:
    """The bundle with `agreement`; and with `activation_ranges` where its encoder is the shipped one or a difference to it, there are posts
    enough to measure them, and rounding changes few decisions. Ranges that it has already stay.

    Args:
        posts: what backends are compared on.
        reference: label logits of these posts in float32.
        seen: what the encoder was trained on, for the ranges; too few, or none: they are not measured.
    """
    if bundle.kind == "linear":
        return bundle
    if bundle.kind == "difference" and not bundle.activation_ranges and len(seen) >= MIN_FOR_RANGES:
        from narratives.training.activations import activation_ranges

        ranged = dataclasses.replace(bundle, activation_ranges=activation_ranges(bundle, seen))
        agreement = check_agreement(ranged, posts, reference)
        # On a CPU without bfloat16 OpenVINO ran another graph.
        rounded = [INT8_GRAPH, *(["openvino"] if agreement["openvino"]["precision"] == "int8" else [])]
        if max(agreement[name]["flipped_share"] for name in rounded) <= MAX_FLIPPED:
            return dataclasses.replace(ranged, agreement=agreement)
    return dataclasses.replace(bundle, agreement=check_agreement(bundle, posts, reference))


def check_agreement(bundle: ModelBundle, posts: Sequence[Post], reference: FloatArray) -> dict[str, dict[str, Any]]:
    """Share of decisions (post x label) in which each fast backend, and the int8 graph in onnxruntime, which is the same on every CPU,
    differ from a model in float32.

    Args:
        reference: that model's label logits of the same posts.
    """
    thresholds = np.array(bundle.calibration.thresholds, dtype=np.float32)
    expected = bundle.calibration.probabilities(reference)
    runtime = bundle.runtime()
    runs = [("openvino", runtime), ("onnx", runtime)]
    if runtime.int8_graph is not None:
        runs.append((INT8_GRAPH, dataclasses.replace(runtime, graph=runtime.int8_graph)))
    result: dict[str, dict[str, Any]] = {}
    for name, model in runs:
        config = ScoreConfig(backend="openvino" if name == "openvino" else "onnx", evidence=False)
        backend = plugins.load("backend", plugins.BACKENDS, config.backend)(model, config)
        found = Scorer(bundle, config, backend).predict_proba(posts)
        flipped = bundle.calibration.decide(found, thresholds) != bundle.calibration.decide(expected, thresholds)
        result[name] = {
            "precision": "activations rounded to int8, float32" if name == INT8_GRAPH else backend.precision,
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
            "n_flagged_screened": int(passes(bundle, [p.post for p in flagged]).sum()),
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
    flags = bundle.calibration.decide(_probabilities(bundle, predictions), thresholds)
    targets = label_targets(posts, bundle.taxonomy)
    n_right, n_flagged, n_true = int((flags & targets).sum()), int(flags.sum()), int(targets.sum())
    real = [prediction for predictions_ in held_out.values() for prediction in predictions_]
    alarms = (_probabilities(bundle, real) >= thresholds).any(axis=1)
    if bundle.calibration.screen_at(name) is not None:
        alarms &= passes(bundle, [p.post for p in real])
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


def measure_screen(bundle: ModelBundle, sets: Mapping[str, Sequence[Prediction]]) -> dict[str, Any]:
    """How many posts of each set the whole model flags, how many of these the screen drops, and how many it lets through in all.

    Args:
        sets: what the whole model predicts of them, not screened.
    """
    found = {}
    for name, predictions in sets.items():
        passed = passes(bundle, [p.post for p in predictions])
        flagged = np.array([bool(p.labels) for p in predictions], dtype=np.bool_)
        found[name] = {
            "n_posts": len(predictions),
            "n_passed": int(passed.sum()),
            "n_flagged": int(flagged.sum()),
            "n_missed": int((flagged & ~passed).sum()),
        }
    return {"sets": found}
