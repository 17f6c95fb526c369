"""Logistic regression of many labels at once, on dense features: what heads over a frozen encoder are fitted with.

One L-BFGS over all labels costs as much as scikit-learn's over one, and can start from, and be pulled towards, a prior: what the
labels' definitions say before any post is seen.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, logsumexp, softmax

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


class Linear(NamedTuple):
    """`weight` (n_labels, n_features), `bias` (n_labels,)."""

    weight: FloatArray
    bias: FloatArray

    def logits(self, features: FloatArray) -> FloatArray:
        """Shape (n, n_labels)."""
        found: FloatArray = (features @ self.weight.T + self.bias).astype(np.float32)
        return found


def fit_logistic(
    features: FloatArray,
    targets: BoolArray,
    *,
    strength: float,
    exclusive: bool = False,
    balance: float = 0.5,
    prior: FloatArray | None = None,
) -> Linear:
    """The weights of least log loss with an L2 penalty on their distance to `prior`.

    Args:
        features: shape (n, n_features), standardised.
        targets: shape (n, n_labels). A label without both kinds of posts keeps its prior and a bias that says its base rate.
        strength: scikit-learn's C: the loss of a post counts this much beside the penalty.
        exclusive: each post has exactly one label: softmax instead of a sigmoid each.
        balance: weight of a positive: (negatives / positives) to this power; with `exclusive`, of a label: its inverse frequency to this
            power.
        prior: weights before any post is seen, shape (n_labels, n_features); None: zeros.
    """
    n, n_features = features.shape
    n_labels = targets.shape[1]
    x, y = features.astype(np.float64), targets.astype(np.float64)
    start = np.zeros((n_labels, n_features)) if prior is None else prior.astype(np.float64)
    positives = y.sum(axis=0)
    if exclusive:
        share = (n / n_labels / np.maximum(positives, 1)) ** balance
        weights = (y @ share)[:, None]
    else:
        weights = np.where(targets, ((n - positives) / np.maximum(positives, 1)) ** balance, 1.0)
    can_learn = (positives > 0) & ((positives < n) | exclusive)

    def loss(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        both = flat.reshape(n_labels, n_features + 1)
        difference = both[:, :-1]
        z = x @ (start + difference).T + both[:, -1]
        if exclusive:
            value = float((weights[:, 0] * (logsumexp(z, axis=1) - (z * y).sum(axis=1))).sum())
            slope = weights * (softmax(z, axis=1) - y)
        else:
            value = float((weights * (np.logaddexp(0, z) - z * y))[:, can_learn].sum())
            slope = weights * (expit(z) - y) * can_learn
        gradient = np.empty_like(both)
        gradient[:, :-1] = strength * (slope.T @ x) + difference
        gradient[:, -1] = strength * slope.sum(axis=0)
        return strength * value + 0.5 * float((difference**2).sum()), gradient.ravel()

    first = np.zeros((n_labels, n_features + 1))
    rate = np.clip(positives / max(n, 1), 1e-3, 1 - 1e-3)
    first[:, -1] = np.log(rate) if exclusive else np.log(rate / (1 - rate))
    fitted = minimize(loss, first.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 300, "maxcor": 10, "gtol": 1e-4 * strength * n})
    both = fitted.x.reshape(n_labels, n_features + 1)
    return Linear((start + both[:, :-1]).astype(np.float32), both[:, -1].astype(np.float32))
