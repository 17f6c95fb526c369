"""What was predicted against what annotators said: precision, recall, F1, average precision, calibration error, each with
an interval. Intervals are percentile bootstraps over groups (1,000 draws): posts of one event are not independent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from narratives.errors import ConfigError
from narratives.records import STANCES
from narratives.training.corpus import NO_STANCE, BoolArray, IntArray

N_DRAWS = 1000

FloatArray = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value with its 95% interval and how many positives it rests on."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def wilson(n_right: int, n: int) -> tuple[float, float]:
    """95% interval of a share (Wilson 1927); (0, 1) of nothing."""
    if not n:
        return 0.0, 1.0
    share, z = n_right / n, 1.96
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # Rounding can carry the ends of 0 of n and n of n past what a share can be.
    return max(0.0, middle - half), min(1.0, middle + half)


def confusion(targets: BoolArray, predicted: BoolArray) -> Counts:
    """True positives, false positives, false negatives of each post and label; shape (3, n_posts, n_labels)."""
    if targets.shape != predicted.shape:
        raise ConfigError(f"targets {targets.shape} and predictions {predicted.shape} differ in shape")
    return np.stack([targets & predicted, ~targets & predicted, targets & ~predicted]).astype(np.int64)


def f1_score(tp: npt.NDArray[np.float64], fp: npt.NDArray[np.float64], fn: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """2TP / (2TP + FP + FN); NaN where there is no positive to find (they are left out of means)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(tp + fn > 0, 2 * tp / (2 * tp + fp + fn), np.nan)


def _draws(groups: Sequence[str], seed: int) -> npt.NDArray[np.float64]:
    """How often each post counts in each bootstrap draw; shape (N_DRAWS, n_posts)."""
    names, of_post = np.unique(np.array(groups, dtype=object).astype(str), return_inverse=True)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=N_DRAWS)
    return counts[:, of_post].astype(np.float64)


def _interval(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def macro_f1(targets: BoolArray, predicted: BoolArray, groups: Sequence[str], *, seed: int = 0) -> Figure:
    """Mean F1 over the labels that have a positive post, with its interval."""
    counts = confusion(targets, predicted).astype(np.float64)
    value = float(np.nanmean(f1_score(*counts.sum(axis=1)))) if targets.any() else float("nan")
    drawn = np.stack([_draws(groups, seed) @ part for part in counts])
    with np.errstate(invalid="ignore"):
        scores = f1_score(*drawn)
    kept = np.isfinite(scores).any(axis=1)
    return Figure(value, *_interval(np.nanmean(scores[kept], axis=1)), int(targets.any(axis=1).sum()))


def macro_f1_difference(targets: BoolArray, ours: BoolArray, theirs: BoolArray, groups: Sequence[str], *, seed: int = 0) -> Figure:
    """Macro-F1 of `ours` less that of `theirs` on the same posts; the bootstrap is paired."""
    draws = _draws(groups, seed)
    values, scores = [], []
    for predicted in (ours, theirs):
        counts = confusion(targets, predicted).astype(np.float64)
        values.append(float(np.nanmean(f1_score(*counts.sum(axis=1)))))
        with np.errstate(invalid="ignore"):
            scores.append(np.nanmean(f1_score(*np.stack([draws @ part for part in counts])), axis=1))
    return Figure(values[0] - values[1], *_interval(scores[0] - scores[1]), int(targets.any(axis=1).sum()))


def average_precision(targets: BoolArray, probabilities: FloatArray) -> float:
    """Area under the precision-recall curve of one label (step-wise); NaN without a positive post."""
    if not targets.any():
        return float("nan")
    order = np.argsort(-probabilities, kind="stable")
    hits = targets[order]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean())


def calibration_error(targets: BoolArray, probabilities: FloatArray, *, n_bins: int = 10) -> float:
    """Expected calibration error of one label: bins of equal width, weighted by posts (Naeini et al. 2015)."""
    bins = np.minimum((probabilities * n_bins).astype(int), n_bins - 1)
    error = 0.0
    for index in range(n_bins):
        here = bins == index
        if here.any():
            error += float(here.mean()) * abs(float(probabilities[here].mean()) - float(targets[here].mean()))
    return error


def stance_one_hot(stances: IntArray) -> BoolArray:
    """Shape (n_posts, 3); a row of False where there is no stance."""
    return np.asarray(stances[:, None] == np.arange(len(STANCES))[None, :])


def evaluate(
    *,
    label_ids: Sequence[str],
    targets: BoolArray,
    probabilities: FloatArray,
    predicted: BoolArray,
    stance_targets: IntArray,
    stance_predictions: IntArray,
    languages: Sequence[str],
    groups: Sequence[str],
    seed: int = 0,
) -> dict[str, object]:
    """All figures of one set of posts, ready for JSON.

    Args:
        predicted: the labels flagged, shape (n_posts, n_labels).
        stance_predictions: the most probable stance of every post, labelled or not; stance is measured on posts that
            annotators labelled, whatever labels the model gave them.
        languages: language of each post; each gets its own figures.
    """
    has_stance = stance_targets != NO_STANCE
    group_names, language_names = np.array(groups, dtype=object), np.array(languages, dtype=object)

    def both(mask: BoolArray) -> dict[str, object]:
        result: dict[str, object] = {"n_posts": int(mask.sum())}
        if targets[mask].any():
            result["labels_macro_f1"] = asdict(macro_f1(targets[mask], predicted[mask], list(group_names[mask]), seed=seed))
        stanced = mask & has_stance
        if stanced.any():
            result["stance_macro_f1"] = asdict(
                macro_f1(
                    stance_one_hot(stance_targets[stanced]),
                    stance_one_hot(stance_predictions[stanced]),
                    list(group_names[stanced]),
                    seed=seed,
                )
            )
        return result

    everything = np.ones(len(targets), dtype=bool)
    clean = ~targets.any(axis=1)
    endorsed = predicted.any(axis=1) & (stance_predictions == STANCES.index("endorses"))
    right = (predicted & targets).any(axis=1) & (stance_targets == STANCES.index("endorses"))
    return {
        "all": both(everything),
        "by_language": {name: both(language_names == name) for name in sorted(set(languages))},
        "by_label": {
            label: _label_figures(targets[:, i], predicted[:, i], probabilities[:, i], groups, seed) for i, label in enumerate(label_ids)
        },
        "by_stance": {
            stance: _label_figures(
                stance_targets[has_stance] == i,
                stance_predictions[has_stance] == i,
                None,
                list(group_names[has_stance]),
                seed,
            )
            for i, stance in enumerate(STANCES)
        },
        "false_alarms": {
            "n_posts_without_label": int(clean.sum()),
            "n_flagged": int(predicted[clean].any(axis=1).sum()),
        },
        "label_and_endorses": {
            "n_flagged": int(endorsed.sum()),
            "precision": float((endorsed & right).sum() / endorsed.sum()) if endorsed.any() else None,
        },
    }


def _label_figures(
    targets: BoolArray, predicted: BoolArray, probabilities: FloatArray | None, groups: Sequence[str], seed: int
) -> dict[str, object]:
    tp, fp, fn = (int(part.sum()) for part in confusion(targets[:, None], predicted[:, None]))
    figures: dict[str, object] = {
        "n_positive": tp + fn,
        "precision": tp / (tp + fp) if tp + fp else None,
        "recall": tp / (tp + fn) if tp + fn else None,
        "f1": asdict(macro_f1(targets[:, None], predicted[:, None], groups, seed=seed)) if tp + fn else None,
    }
    if probabilities is not None:
        figures["average_precision"] = average_precision(targets, probabilities) if targets.any() else None
        figures["calibration_error"] = calibration_error(targets, probabilities)
    return figures


def summary_lines(metrics: Mapping[str, object]) -> list[str]:
    """The main figures as plain text, one a line."""
    lines = []
    everything = metrics["all"]
    by_language = metrics["by_language"]
    if not isinstance(everything, dict) or not isinstance(by_language, dict):
        raise ConfigError("these metrics were not made by metrics.evaluate")
    for name, part in (("all", everything), *by_language.items()):
        for key, what in (("labels_macro_f1", "labels"), ("stance_macro_f1", "stance")):
            if key in part:
                lines.append(f"{name:8} {what:7} macro-F1 {Figure(**part[key])} on {part['n_posts']} posts")
    return lines
