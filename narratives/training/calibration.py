"""From logits on validation posts: probabilities that mean what they say, and thresholds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from narratives.bundle import Calibration
from narratives.errors import ConfigError
from narratives.training.corpus import NO_STANCE, BoolArray, IntArray

FloatArray = npt.NDArray[np.float32]

MIN_POSITIVES = 20
"""With fewer positive posts a label's own slope would be fitted to noise: it takes the one fitted to all labels together."""
PRIOR_POSITIVES = 10.0
"""How many positive posts the labels together count for when a label's threshold is chosen."""
_MIN_SLOPE, _MAX_SLOPE = 0.2, 3.0


def fit_calibration(
    label_logits: FloatArray, targets: BoolArray, stance_logits: FloatArray, stances: IntArray, *, weights: FloatArray | None = None
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
    temperature = _temperature(stance_logits[known], stances[known]) if known.sum() >= 5 else 1.0
    uncut = Calibration(slopes, intercepts, (0.5,) * len(pairs), temperature)
    thresholds = choose_thresholds(uncut.probabilities(label_logits), targets, weights=weights)
    return Calibration(slopes, intercepts, tuple(round(float(t), 4) for t in thresholds), temperature)


def _platt(logits: FloatArray, targets: BoolArray, fallback: tuple[float, float]) -> tuple[float, float]:
    n_positive = int(targets.sum())
    if n_positive < MIN_POSITIVES or n_positive > len(targets) - MIN_POSITIVES:
        return fallback
    fitted = LogisticRegression(C=1.0).fit(logits[:, None].astype(np.float64), targets)
    slope = float(fitted.coef_[0, 0])
    if not _MIN_SLOPE <= slope <= _MAX_SLOPE:
        return fallback  # the logits say nothing, or separate the few posts perfectly: do not extrapolate
    return slope, float(fitted.intercept_[0])


def _temperature(logits: FloatArray, stances: IntArray) -> float:
    """The temperature of least log loss, on a grid: one number needs no optimiser."""
    grid = np.exp(np.linspace(np.log(0.5), np.log(4.0), 61))
    losses = []
    for temperature in grid:
        scaled = logits / temperature
        log_sum = np.log(np.exp(scaled - scaled.max(1, keepdims=True)).sum(1)) + scaled.max(1)
        losses.append(float((log_sum - scaled[np.arange(len(stances)), stances]).mean()))
    return float(grid[int(np.argmin(losses))])


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
    levels = np.unique(np.concatenate([probabilities.reshape(-1).astype(np.float64), [0.0, 1.0]]))
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
