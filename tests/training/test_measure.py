"""Figures count what the scorer decides."""

from __future__ import annotations

import dataclasses

from narratives import Post, ScoreConfig, Scorer
from narratives.bundle import ModelBundle
from narratives.training.measure import measure_point


def test_an_operating_point_counts_one_label_a_post_where_labels_exclude_each_other(linear_bundle: ModelBundle, posts: list[Post]) -> None:
    low = dataclasses.replace(linear_bundle.calibration, thresholds=(0.01,) * len(linear_bundle.labels), exclusive="at most one")
    bundle = dataclasses.replace(linear_bundle, calibration=low)
    labelled = [post for post in posts if post.labels and len(post.labels) == 1]
    scored = Scorer.from_bundle(bundle, config=ScoreConfig(evidence=False)).predict(labelled)
    assert all(len(one.labels) == 1 for one in scored)
    right = sum(one.labels == post.labels for one, post in zip(scored, labelled, strict=True)) / len(labelled)
    found = measure_point(bundle, "balanced", labelled, scored, {})
    assert (found["precision"], found["recall"]) == (right, right)
