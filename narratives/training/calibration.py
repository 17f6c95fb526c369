"""From logits on validation posts: probabilities that mean what they say, and thresholds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression

from narratives.bundle import Calibration
from narratives.errors import ConfigError
from narratives.training.corpus import NO_STANCE, BoolArray, IntArray

FloatArray = npt.NDArray[np.float32]

MIN_POSITIVES = 20
"""With fewer positive posts a label's own slope would be fitted to noise: it takes the one fitted to all labels together."""
PRIOR_POSITIVES = 10.0
"""How many positive posts the labels together count for when a label's threshold is chosen."""
PRECISION = 0.9
"""What `high_precision` aims at on validation posts."""
RECALL, CONFIDENCE = 0.95, 0.9
"""What `high_recall` promises, where validation posts are many enough to promise anything."""
_MAX_LEVELS = 4000
_MIN_SLOPE, _MAX_SLOPE = 0.2, 3.0


def fit_calibration(
    label_logits: FloatArray,
    targets: BoolArray,
    stance_logits: FloatArray,
    stances: IntArray,
    *,
    weights: FloatArray | None = None,
) -> Calibration:
    """Platt scaling of each label, one temperature for the stance, and thresholds of best F1.

    Args:
        label_logits: shape (n_posts, n_labels), of held-out posts.
        targets: the same shape.
        stance_logits: shape (n_posts, 3).
        stances: shape (n_posts,), `NO_STANCE` where a post has no label.
        weights: see `choose_thresholds`.
    """
    if label_logits.shape != targets.shape:
        raise ConfigError(f"logits {label_logits.shape} and targets {targets.shape} differ in shape")
    pooled = _platt(label_logits.reshape(-1), targets.reshape(-1), (1.0, 0.0))
    pairs = [_platt(label_logits[:, i], targets[:, i], pooled) for i in range(targets.shape[1])]
    slopes, intercepts = tuple(a for a, _ in pairs), tuple(b for _, b in pairs)
    known = stances != NO_STANCE
    temperature = fit_temperature(stance_logits[known], stances[known])[0] if known.sum() >= 5 else 1.0
    uncut = Calibration(slopes, intercepts, (0.5,) * len(pairs), temperature)
    probabilities = uncut.probabilities(label_logits)
    balanced = choose_thresholds(probabilities, targets, weights=weights)
    precise = np.maximum(balanced, high_precision_thresholds(probabilities, targets, weights=weights))
    sensitive, guaranteed = high_recall_thresholds(probabilities, targets)
    points = {"high_precision": precise, "high_recall": np.minimum(balanced, sensitive)}
    return Calibration(
        slopes,
        intercepts,
        tuple(round(float(t), 4) for t in balanced),
        temperature,
        # Rounded down: a guarantee of recall must not be lost to the fifth digit.
        {name: tuple(max(1e-4, math.floor(float(t) * 1e4) / 1e4) for t in values) for name, values in points.items()},
        guaranteed,
    )


def _platt(logits: FloatArray, targets: BoolArray, fallback: tuple[float, float]) -> tuple[float, float]:
    n_positive = int(targets.sum())
    if n_positive < MIN_POSITIVES or n_positive > len(targets) - MIN_POSITIVES:
        return fallback
    fitted = LogisticRegression(C=1.0).fit(logits[:, None].astype(np.float64), targets)
    slope = float(fitted.coef_[0, 0])
    if not _MIN_SLOPE <= slope <= _MAX_SLOPE:
        return fallback  # the logits say nothing, or separate the few posts perfectly: do not extrapolate
    return slope, float(fitted.intercept_[0])


def fit_temperature(logits: FloatArray, stances: IntArray) -> tuple[float, float]:
    """The temperature of least log loss, on a grid (one number needs no optimiser), and that loss."""
    grid = np.exp(np.linspace(np.log(0.5), np.log(4.0), 61))
    losses = []
    for temperature in grid:
        scaled = logits / temperature
        log_sum = np.log(np.exp(scaled - scaled.max(1, keepdims=True)).sum(1)) + scaled.max(1)
        losses.append(float((log_sum - scaled[np.arange(len(stances)), stances]).mean()))
    best = int(np.argmin(losses))
    return float(grid[best]), losses[best]


def choose_thresholds(probabilities: FloatArray, targets: BoolArray, *, weights: FloatArray | None = None) -> FloatArray:
    """Pick for each label the threshold with the best F1 on held-out posts, shrunk towards the one best for all labels.

    A label with few positive posts would get a threshold that fits those few. So the counts of all labels together are
    added to its own, weighted as `PRIOR_POSITIVES` positive posts (an empirical prior); a label with none gets the common
    threshold. Among equally good ones the middle of the widest gap is taken.

    Corpora for training are half narratives, real dumps are not: `weights` lets posts without a label count more often, so that a
    false alarm costs what it would cost there.

    Args:
        probabilities: in [0, 1], shape (n_posts, n_labels).
        targets: True where annotators assigned the label, same shape.
        weights: how many times each post counts when it is flagged wrongly or rightly, shape (n_posts,); posts with a label count
            once whatever it says. None: once each.

    Returns:
        Thresholds in [0.05, 0.95], shape (n_labels,), in taxonomy order.

    Raises:
        ConfigError: the two arrays differ in shape.
    """
    if probabilities.shape != targets.shape:
        raise ConfigError(f"probabilities {probabilities.shape} and targets {targets.shape} differ in shape")
    if not targets.any():
        return np.full(targets.shape[1], 0.5, dtype=np.float32)
    # Candidates lie between neighbouring probabilities, of any label.
    levels = _few(np.unique(np.concatenate([probabilities.reshape(-1).astype(np.float64), [0.0, 1.0]])))
    cuts = (levels[:-1] + levels[1:]) / 2
    widths = np.diff(levels)
    flagged = probabilities[None, :, :] >= cuts[:, None, None]
    counts = np.where(targets.any(axis=1), 1.0, 1.0 if weights is None else weights)
    tp = (flagged & targets[None]).sum(axis=1).astype(np.float64)
    n_flagged = (flagged * counts[None, :, None]).sum(axis=1)
    n_positive = targets.sum(axis=0).astype(np.float64)
    weight = PRIOR_POSITIVES / n_positive.sum()
    tp = tp + weight * tp.sum(axis=1, keepdims=True)
    n_flagged = n_flagged + weight * n_flagged.sum(axis=1, keepdims=True)
    f1 = 2 * tp / (n_flagged + n_positive + PRIOR_POSITIVES)
    chosen = []
    for label in range(targets.shape[1]):
        best = np.flatnonzero(f1[:, label] >= f1[:, label].max() - 1e-9)
        chosen.append(cuts[best[np.argmax(widths[best])]])
    thresholds: FloatArray = np.clip(chosen, 0.05, 0.95).astype(np.float32)
    return thresholds


def _few(levels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """At most `_MAX_LEVELS` of these ascending values, evenly by rank, both ends kept: counts need memory for each times posts."""
    if len(levels) <= _MAX_LEVELS:
        return levels
    kept: npt.NDArray[Any] = levels[np.linspace(0, len(levels) - 1, _MAX_LEVELS).round().astype(int)]
    return kept


def high_precision_thresholds(probabilities: FloatArray, targets: BoolArray, *, weights: FloatArray | None = None) -> FloatArray:
    """For each label the lowest threshold with a precision of `PRECISION` on held-out posts, counts shrunk as in `choose_thresholds`.

    A label that reaches it nowhere gets the highest threshold at which it still flags a held-out post. Shapes as there.
    """
    counts = np.where(targets.any(axis=1), 1.0, 1.0 if weights is None else weights)
    levels = _few(np.unique(probabilities.reshape(-1)))
    flagged = probabilities[None, :, :] >= levels[:, None, None]
    tp = (flagged & targets[None]).sum(axis=1).astype(np.float64)
    n_flagged = (flagged * counts[None, :, None]).sum(axis=1)
    weight = PRIOR_POSITIVES / max(1.0, float(targets.sum()))
    tp, n_flagged = tp + weight * tp.sum(axis=1, keepdims=True), n_flagged + weight * n_flagged.sum(axis=1, keepdims=True)
    good = tp >= PRECISION * n_flagged
    first = np.where(good.any(axis=0), good.argmax(axis=0), [np.searchsorted(levels, column.max()) for column in probabilities.T])
    thresholds: FloatArray = np.clip(levels[first], 0.05, 0.99).astype(np.float32)
    return thresholds


def high_recall_thresholds(probabilities: FloatArray, targets: BoolArray) -> tuple[FloatArray, tuple[bool, ...]]:
    """For each label the highest threshold that keeps `RECALL` of its posts with `CONFIDENCE` (learn then test, Angelopoulos et al. 2021).

    Thresholds are tested from low to high, each by the exact binomial p-value of "more than 5% are missed", until one fails
    (fixed-sequence testing). With fewer than 45 positive posts nothing can be promised for a label alone: such labels share one
    threshold, tested on the posts of all of them together, so that the promise holds for them on average. It takes held-out posts for
    independent, which posts of one event are not quite.

    Returns:
        Thresholds, shape (n_labels,), and for each label whether the promise is its own.
    """
    own = tuple(_n_misses(int(n)) >= 0 for n in targets.sum(axis=0))
    pooled = [probabilities[targets[:, i], i] for i, has_own in enumerate(own) if not has_own]
    common = _keeps(np.concatenate(pooled)) if pooled else 0.0
    thresholds = [_keeps(probabilities[targets[:, i], i]) if has_own else common for i, has_own in enumerate(own)]
    return np.array(thresholds, dtype=np.float32), own


def _n_misses(n: int) -> int:
    """The most misses among n positive posts that still show a recall of `RECALL`; -1 if n is too small for any."""
    n_misses = -1
    while n_misses + 1 < n and binom.cdf(n_misses + 1, n, 1 - RECALL) <= 1 - CONFIDENCE:
        n_misses += 1
    return n_misses


def _keeps(positives: FloatArray) -> float:
    """The highest threshold that misses no more of these than `_n_misses` allows; all are kept where it allows nothing."""
    if not len(positives):
        return 0.5
    return float(np.sort(positives)[max(0, _n_misses(len(positives)))])
