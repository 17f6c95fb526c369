"""Logistic regression with a prior, and what cross-validation makes of definitions, encoder and TF-IDF."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from narratives.bundle import Calibration
from narratives.records import Post
from narratives.training.heads import fit_heads, folds_of, merit
from narratives.training.logistic import fit_logistic
from narratives.training.newlabels import calibrate


def data(n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(n, 6)).astype(np.float32)
    y = np.stack([x[:, 0] + 0.5 * rng.normal(size=n) > 0.8, x[:, 1] - x[:, 2] + 0.5 * rng.normal(size=n) > 0], axis=1)
    return x, y


def test_it_finds_what_scikit_learn_finds_label_by_label() -> None:
    x, y = data()
    ours = fit_logistic(x, y, strength=0.3, balance=0.0)
    for i in range(2):
        theirs = LogisticRegression(C=0.3, tol=1e-8, max_iter=1000).fit(x, y[:, i])
        assert np.allclose(ours.weight[i], theirs.coef_[0], atol=5e-3)
        assert ours.bias[i] == pytest.approx(float(theirs.intercept_[0]), abs=5e-3)


def test_it_finds_what_scikit_learn_finds_where_labels_exclude_each_other() -> None:
    x, _ = data()
    kinds = np.argmax(x[:, :3] + 0.3, axis=1)
    ours = fit_logistic(x, np.eye(3, dtype=bool)[kinds], strength=0.3, exclusive=True, balance=0.0)
    theirs = LogisticRegression(C=0.3, tol=1e-8, max_iter=1000).fit(x, kinds)
    difference = ours.logits(x) - theirs.decision_function(x)
    assert np.allclose(difference - difference.mean(axis=1, keepdims=True), 0, atol=2e-2)


def test_a_label_without_a_post_keeps_its_prior_and_a_low_bias() -> None:
    x, y = data()
    prior = np.ones((2, 6), dtype=np.float32)
    y[:, 1] = False
    head = fit_logistic(x, y, strength=0.1, prior=prior)
    assert np.allclose(head.weight[1], 1)
    assert head.bias[1] < -6
    assert not np.allclose(head.weight[0], 1)


def test_a_prior_counts_less_the_more_posts_there_are() -> None:
    x, y = data(2000)
    wrong = np.zeros((2, 6), dtype=np.float32)
    wrong[0, 5] = 2.0
    few, many = (fit_logistic(x[:n], y[:n], strength=0.1, prior=wrong).weight[0, 5] for n in (20, 2000))
    assert abs(many) < abs(few) / 3


def test_folds_keep_copies_and_groups_whole_and_labels_spread() -> None:
    posts = [Post(f"текст номер {i // 2}", labels=("rain",) if i % 10 < 2 else ()) for i in range(100)]
    targets = np.array([[bool(p.labels)] for p in posts])
    folds = folds_of(posts, targets, seed=1)
    assert all(folds[i] == folds[i + 1] for i in range(0, 100, 2))
    assert [int(targets[folds == f].sum()) for f in range(5)] == [4] * 5


def test_definitions_are_used_where_they_help_and_left_out_where_they_mislead() -> None:
    rng = np.random.default_rng(3)
    truth = np.array([i % 2 == 0 for i in range(24)])
    x = rng.normal(size=(24, 40)).astype(np.float32)
    x[:, 0] += np.where(truth, 1.5, -1.5)
    targets = np.stack([truth, ~truth], axis=1)
    posts = [Post(f"пост {i} {rng.integers(1e9)}") for i in range(24)]
    folds = folds_of(posts, targets, seed=1)
    right = np.zeros((2, 40), dtype=np.float32)
    right[0, 0], right[1, 0] = 3.0, -3.0
    good, bad = (fit_heads(posts, [p.text for p in posts], x, targets, folds, described=d, exclusive=True).chosen for d in (right, -right))
    assert good.prior > 0
    assert good.merit["encoder"] > bad.merit["encoder"]
    assert bad.prior <= 0.25


def test_merit_of_labels_that_exclude_each_other_does_not_depend_on_the_size_of_logits() -> None:
    logits = np.array([[2.0, -1.0], [-1.5, 1.0], [0.2, 0.1]], dtype=np.float32)
    targets = np.array([[1, 0], [0, 1], [0, 1]], dtype=bool)
    assert merit(logits, targets, exclusive=True) == pytest.approx(merit(2 * logits, targets, exclusive=True), abs=0.01)


def test_one_label_a_post_is_always_flagged_and_probabilities_sum_to_one() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, size=200)
    targets = np.eye(3, dtype=bool)[truth]
    logits = (rng.normal(size=(200, 3)) + 2 * targets).astype(np.float32)
    none = np.zeros((200, 3), dtype=np.float32)
    made = calibrate(logits, targets, none, np.full(200, -1), single=True)
    probabilities = made.probabilities(logits)
    assert made.exclusive == "one"
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    for point in ("balanced", "high_recall"):
        assert (made.decide(probabilities, np.array(made.at(point))).sum(axis=1) == 1).all()  # type: ignore[arg-type]


def test_at_most_one_label_leaves_room_for_none() -> None:
    made = Calibration((1.0, 1.0), (0.0, 0.0), (0.4, 0.4), exclusive="at most one")
    probabilities = made.probabilities(np.array([[0.0, 0.0], [3.0, 2.9], [-9.0, -9.0]], dtype=np.float32))
    assert probabilities[0] == pytest.approx([1 / 3, 1 / 3], abs=1e-5)
    assert probabilities[2].sum() < 1e-3
    assert made.decide(probabilities, np.array(made.thresholds)).tolist() == [[False, False], [True, False], [False, False]]
