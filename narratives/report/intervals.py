"""How sure a count is: intervals for shares, and shares corrected for the model's measured errors.

A model that misses some posts and raises false alarms on others counts wrongly in a known way. Rogan and Gladen (Am. J.
Epidemiology 107:71, 1978) turn the share that a test finds into the share that is there, from the test's sensitivity and
specificity; here both are uncertain too (they were measured on some hundreds of posts), so the correction is drawn many times
from their posterior distributions (Beta with Jeffreys' prior) and the middle 95% are given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from narratives.training.metrics import wilson as wilson_ends

_N_DRAWS = 20_000
_SEED = 13

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its 95% interval, all in the unit of the value."""

    value: float
    low: float
    high: float

    def times(self, n: int) -> Interval:
        """A share as a count of n."""
        return Interval(self.value * n, self.low * n, self.high * n)


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """What a model got right and wrong where the truth is known: counts of posts.

    `look_alikes` are posts without the label that were written to resemble it, `ordinary` posts of real channels.
    """

    n_true: int
    n_found: int
    n_look_alikes: int
    n_look_alikes_flagged: int
    n_ordinary: int = 0
    n_ordinary_flagged: int = 0


def wilson(n_hits: int, n: int) -> Interval:
    """Wilson's score interval (JASA 22:209, 1927) for a share. An empty set of posts says nothing: [0, 1]."""
    if n == 0:
        return Interval(math.nan, 0.0, 1.0)
    return Interval(n_hits / n, *wilson_ends(n_hits, n))


def difference(hits_a: int, n_a: int, hits_b: int, n_b: int) -> Interval:
    """Share b minus share a, with Newcombe's hybrid interval (Statistics in Medicine 17:873, 1998, method 10)."""
    a, b = wilson(hits_a, n_a), wilson(hits_b, n_b)
    if not n_a or not n_b:
        return Interval(math.nan, -1.0, 1.0)
    delta = b.value - a.value
    return Interval(
        delta,
        delta - math.hypot(b.value - b.low, a.high - a.value),
        delta + math.hypot(b.high - b.value, a.value - a.low),
    )


def corrected(n_flagged: int, n: int, rates: ErrorRates) -> Interval:
    """The share of posts that truly carry what `n_flagged` of `n` were flagged for.

    Nobody knows whether a dump's other posts are look-alikes or ordinary ones, and the model's false alarms differ between
    the two: where both were measured, half of the draws take one and half the other, so that the interval covers both.
    """
    if n == 0:
        return Interval(math.nan, 0.0, 1.0)
    rng = np.random.default_rng(_SEED)

    def beta(hits: int, total: int, size: int) -> FloatArray:
        return rng.beta(hits + 0.5, total - hits + 0.5, size)

    apparent, sensitivity = beta(n_flagged, n, _N_DRAWS), beta(rates.n_found, rates.n_true, _N_DRAWS)
    half = _N_DRAWS // 2 if rates.n_ordinary else 0
    false_alarms = np.concatenate(
        [
            beta(rates.n_ordinary_flagged, rates.n_ordinary, half),
            beta(rates.n_look_alikes_flagged, rates.n_look_alikes, _N_DRAWS - half),
        ]
    )
    # A test no better than chance (sensitivity + specificity <= 1) tells nothing; the floor keeps such draws wide, not infinite.
    shares = np.clip((apparent - false_alarms) / np.maximum(sensitivity - false_alarms, 0.01), 0.0, 1.0)
    low, middle, high = np.quantile(shares, (0.025, 0.5, 0.975))
    return Interval(float(middle), float(low), float(high))


def rates_of_labels(metrics: Mapping[str, Any]) -> dict[str, ErrorRates]:
    """Error rates of each label from a bundle's `metrics.json`; a label without a positive test post is left out."""
    test = metrics.get("test", {})
    n_posts = test.get("all", {}).get("n_posts", 0)
    held_out = _held_out(metrics)
    rates = {}
    for label, figures in test.get("by_label", {}).items():
        n_true, recall, precision = figures.get("n_positive"), figures.get("recall"), figures.get("precision")
        if not n_true or recall is None:
            continue
        n_found = round(n_true * recall)
        n_false = round(n_found / precision) - n_found if precision else 0
        rates[label] = ErrorRates(
            n_true,
            n_found,
            n_posts - n_true,
            n_false,
            sum(int(part["n_posts"]) for part in held_out),
            sum(int(part.get("by_label", {}).get(label, 0)) for part in held_out),
        )
    return rates


def rates_of_any_label(metrics: Mapping[str, Any]) -> ErrorRates | None:
    """Error rates of "carries any narrative". Recall is that of single labels, all together: a post that carries two
    is missed less often, so the corrected share is, if anything, too high."""
    alarms = metrics.get("test", {}).get("false_alarms")
    by_label = rates_of_labels(metrics)
    if not alarms or not by_label:
        return None
    held_out = _held_out(metrics)
    return ErrorRates(
        sum(r.n_true for r in by_label.values()),
        sum(r.n_found for r in by_label.values()),
        alarms["n_posts_without_label"],
        alarms["n_flagged"],
        sum(int(part["n_posts"]) for part in held_out),
        sum(int(part["n_flagged"]) for part in held_out),
    )


def _held_out(metrics: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    background = metrics.get("background") or {}
    return list(background.get("held_out", {}).values())
