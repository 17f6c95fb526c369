"""From logits on validation posts: probabilities that mean what they say, and thresholds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from narratives.bundle import Calibration
from narratives.errors import ConfigError
from narratives.training.corpus import NO_STANCE, BoolArray, IntArray

FloatArray = npt.NDArray[np.float32]

MIN_POSITIVES = 5
"""With fewer positive posts a slope would be fitted to noise: the logit is kept as it is."""
_MIN_SLOPE, _MAX_SLOPE = 0.2, 3.0


def fit_calibration(label_logits: FloatArray, targets: BoolArray, stance_logits: FloatArray, stances: IntArray) -> Calibration:
    """Platt scaling of each label, one temperature for the stance, and thresholds of best F1.

    Args:
        label_logits: shape (n_posts, n_labels), of held-out posts.
        targets: the same shape.
        stance_logits: shape (n_posts, 3).
        stances: shape (n_posts,), `NO_STANCE` where a post has no label.
    """
    if label_logits.shape != targets.shape:
        raise ConfigError(f"logits {label_logits.shape} and targets {targets.shape} differ in shape")
    pairs = [_platt(label_logits[:, i], targets[:, i]) for i in range(targets.shape[1])]
    slopes, intercepts = tuple(a for a, _ in pairs), tuple(b for _, b in pairs)
    known = stances != NO_STANCE
    temperature = _temperature(stance_logits[known], stances[known]) if known.sum() >= MIN_POSITIVES else 1.0
    uncut = Calibration(slopes, intercepts, (0.5,) * len(pairs), temperature)
    thresholds = choose_thresholds(uncut.probabilities(label_logits), targets)
    return Calibration(slopes, intercepts, tuple(round(float(t), 4) for t in thresholds), temperature)


def _platt(logits: FloatArray, targets: BoolArray) -> tuple[float, float]:
    n_positive = int(targets.sum())
    if n_positive < MIN_POSITIVES or n_positive > len(targets) - MIN_POSITIVES:
        return 1.0, 0.0
    fitted = LogisticRegression(C=1.0).fit(logits[:, None].astype(np.float64), targets)
    slope = float(fitted.coef_[0, 0])
    if not _MIN_SLOPE <= slope <= _MAX_SLOPE:
        return 1.0, 0.0  # the logits say nothing, or separate the few posts perfectly: do not extrapolate
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


def choose_thresholds(probabilities: FloatArray, targets: BoolArray) -> FloatArray:
    """Pick for each label the threshold with the best F1 on held-out posts.

    Among equally good ones the middle of the widest gap is taken, so that a new post just beside the last one seen falls on
    the likelier side. A label with fewer than `MIN_POSITIVES` positive posts keeps 0.5: there is nothing to tune on.

    Args:
        probabilities: in [0, 1], shape (n_posts, n_labels).
        targets: True where annotators assigned the label, same shape.

    Returns:
        Thresholds in [0.05, 0.95], shape (n_labels,), in taxonomy order.

    Raises:
        ConfigError: the two arrays differ in shape.
    """
    if probabilities.shape != targets.shape:
        raise ConfigError(f"probabilities {probabilities.shape} and targets {targets.shape} differ in shape")
    return np.array([_best_threshold(probabilities[:, i], targets[:, i]) for i in range(targets.shape[1])], dtype=np.float32)


def _best_threshold(probabilities: FloatArray, targets: BoolArray) -> float:
    n_positive = int(targets.sum())
    if n_positive < MIN_POSITIVES:
        return 0.5
    order = np.argsort(-probabilities, kind="stable")
    sorted_p = probabilities[order].astype(np.float64)
    tp = np.cumsum(targets[order])
    f1 = 2 * tp / (np.arange(1, len(tp) + 1) + n_positive)
    # A cut after rank k lies between the k-th and the next probability; equal ones cannot be cut apart.
    following = np.append(sorted_p[1:], 0.0)
    gap = sorted_p - following
    f1 = np.where(gap > 0, f1, -1.0)
    best = np.flatnonzero(f1 >= f1.max() - 1e-9)
    k = int(best[np.argmax(gap[best])])
    return float(np.clip((sorted_p[k] + following[k]) / 2, 0.05, 0.95))
