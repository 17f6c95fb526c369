"""Intervals are compared with published values and with simulated dumps whose truth is known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from narratives.report.intervals import ErrorRates, corrected, difference, rates_of_any_label, rates_of_labels, wilson
from tests.conftest import ROOT


def test_wilson_is_that_of_newcombe_1998() -> None:
    # Newcombe, Statistics in Medicine 17:857, table I, method 3.
    for hits, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)):
        found = wilson(hits, n)
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)
    assert math.isnan(wilson(0, 0).value)


def test_difference_is_that_of_newcombe_1998() -> None:
    # Newcombe, Statistics in Medicine 17:873, table II, method 10: 56/70 against 48/80.
    found = difference(48, 80, 56, 70)
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


def test_a_perfect_model_needs_no_correction_and_a_blind_one_tells_nothing() -> None:
    perfect = corrected(200, 1000, ErrorRates(10_000, 10_000, 10_000, 0))
    assert perfect.value == pytest.approx(0.2, abs=0.005)
    assert perfect.high - perfect.low < 0.06
    blind = corrected(200, 1000, ErrorRates(50, 10, 50, 10))
    assert blind.high - blind.low > 0.9


def test_missed_posts_raise_and_false_alarms_lower_the_count() -> None:
    # Rogan and Gladen: (0.2 - 0.02) / (0.6 - 0.02) = 0.31; (0.2 - 0.1) / (1 - 0.1) = 0.11.
    assert corrected(2000, 10_000, ErrorRates(10_000, 6000, 10_000, 200)).value == pytest.approx(0.31, abs=0.01)
    assert corrected(2000, 10_000, ErrorRates(10_000, 10_000, 10_000, 1000)).value == pytest.approx(0.11, abs=0.01)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    n, truth, sensitivity, alarms = 2000, 0.1, 0.8, 0.03
    covered = 0
    for _ in range(200):
        flagged = rng.binomial(rng.binomial(n, truth), sensitivity) + rng.binomial(int(n * (1 - truth)), alarms)
        rates = ErrorRates(60, int(rng.binomial(60, sensitivity)), 800, int(rng.binomial(800, alarms)))
        interval = corrected(int(flagged), n, rates)
        covered += interval.low <= truth <= interval.high
    assert 182 <= covered <= 200


def test_two_kinds_of_false_alarms_widen_the_interval_to_both() -> None:
    ordinary_only = corrected(30, 1000, ErrorRates(60, 54, 3000, 3))
    look_alikes_only = corrected(30, 1000, ErrorRates(60, 54, 400, 20))
    both = corrected(30, 1000, ErrorRates(60, 54, 400, 20, 3000, 3))
    assert both.low <= look_alikes_only.value < ordinary_only.value <= both.high


def test_rates_come_from_the_shipped_bundles_own_figures() -> None:
    metrics = json.loads((ROOT / "models" / "kazakhstan-e5-small" / "metrics.json").read_text("utf-8"))
    rates = rates_of_labels(metrics)
    for label, figures in metrics["test"]["by_label"].items():
        r = rates[label]
        assert r.n_found / r.n_true == pytest.approx(figures["recall"])
        assert r.n_found / (r.n_found + r.n_look_alikes_flagged) == pytest.approx(figures["precision"])
        assert r.n_true + r.n_look_alikes == metrics["test"]["all"]["n_posts"]
    assert rates_of_any_label(metrics) is not None
    assert rates_of_labels({}) == {} and rates_of_any_label({}) is None
