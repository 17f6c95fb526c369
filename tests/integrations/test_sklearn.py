"""The estimator under scikit-learn's own checks and tools."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.metrics import f1_score
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import check_estimator

from narratives import Scorer
from narratives.errors import ConfigError
from narratives.integrations.sklearn import NarrativeClassifier
from narratives.records import Post

LABELS = ["rain", "snow"]


@pytest.fixture(scope="module")
def texts(posts: list[Post]) -> list[str]:
    return [p.text for p in posts[:90]]


@pytest.fixture(scope="module")
def targets(posts: list[Post]) -> np.ndarray:
    return np.array([[label in (p.labels or ()) for label in LABELS] for p in posts[:90]], dtype=int)


@pytest.fixture(scope="module")
def fitted(texts: list[str], targets: np.ndarray) -> NarrativeClassifier:
    return NarrativeClassifier(labels=LABELS).fit(texts, targets)


def test_check_estimator_finds_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkipTestWarning)  # its numeric data is no text
        check_estimator(NarrativeClassifier())


@pytest.mark.parametrize(
    "check",
    [
        "check_estimator_cloneable", "check_estimator_tags_renamed", "check_valid_tag_types", "check_estimator_repr",
        "check_no_attributes_set_in_init", "check_get_params_invariance", "check_set_params", "check_parameters_default_constructible",
        "check_mixin_order",
    ],
)  # fmt: skip
def test_checks_that_need_no_data_pass(check: str) -> None:
    getattr(estimator_checks, check)("NarrativeClassifier", NarrativeClassifier())


def test_it_learns_and_says_so_in_shapes(fitted: NarrativeClassifier, texts: list[str], targets: np.ndarray) -> None:
    probabilities = fitted.predict_proba(texts)
    assert probabilities.shape == targets.shape
    assert probabilities.dtype == np.float32
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    assert fitted.classes_.tolist() == LABELS
    assert f1_score(targets, fitted.predict(texts), average="macro") > 0.95


def test_fitting_twice_gives_the_same_and_seeds_hold(fitted: NarrativeClassifier, texts: list[str], targets: np.ndarray) -> None:
    again = clone(fitted).fit(texts, targets)
    np.testing.assert_array_equal(again.predict_proba(texts), fitted.predict_proba(texts))


def test_labels_that_exclude_each_other_are_predicted_as_the_scorer_does(fitted: NarrativeClassifier, texts: list[str]) -> None:
    bundle = fitted.bundle_
    low = replace(bundle.calibration, exclusive="at most one", thresholds=(0.01, 0.01))
    one = clone(fitted)
    one.bundle_, one.classes_, one.multilabel_, one._scorer = replace(bundle, calibration=low), fitted.classes_, True, None
    assert (one.predict_proba(texts) >= 0.01).sum(axis=1).max() == 2
    found = one.predict(texts)
    assert found.sum(axis=1).max() == 1
    scored = Scorer.from_bundle(one.bundle_).predict(texts)
    assert [tuple(LABELS[i] for i in np.flatnonzero(row)) for row in found] == [p.labels for p in scored]


def test_cross_val_predict_in_a_pipeline(texts: list[str], targets: np.ndarray) -> None:
    clean = FunctionTransformer(lambda values: [value.replace("!", ".") for value in values])
    pipeline = Pipeline([("clean", clean), ("model", NarrativeClassifier(labels=LABELS))])
    predicted = cross_val_predict(pipeline, texts, targets, cv=2)
    assert f1_score(targets, predicted, average="macro") > 0.9
    probabilities = cross_val_predict(pipeline, texts, targets, cv=2, method="predict_proba")
    assert probabilities.shape == targets.shape
    assert probabilities[targets == 1].mean() > probabilities[targets == 0].mean() + 0.5


def test_grid_search_sets_its_parameters(texts: list[str], targets: np.ndarray) -> None:
    search = GridSearchCV(
        NarrativeClassifier(labels=LABELS), {"validation_share": [0.2, 0.3]}, cv=2, scoring="f1_macro", error_score="raise"
    )
    assert search.fit(texts, targets).best_score_ > 0.9


def test_single_labels_keep_their_names(texts: list[str], targets: np.ndarray) -> None:
    names = np.array(["Дождь", "Снег", 'Сухо, "ясно"'])[np.where(targets.any(axis=1), targets.argmax(axis=1), 2)]
    model = NarrativeClassifier().fit(np.array(texts, dtype=object), names)
    assert model.classes_.tolist() == sorted(set(names.tolist()))
    np.testing.assert_allclose(model.predict_proba(texts).sum(axis=1), 1, rtol=1e-5)
    assert model.score(texts, names) > 0.95


def test_columns_of_pandas_and_polars_are_texts(fitted: NarrativeClassifier, texts: list[str]) -> None:
    import pandas as pd
    import polars as pl

    expected = fitted.predict_proba(texts[:5])
    np.testing.assert_array_equal(fitted.predict_proba(pd.Series(texts[:5])), expected)
    np.testing.assert_array_equal(fitted.predict_proba(pl.Series(texts[:5])), expected)


def test_groups_are_held_back_whole(posts: list[Post]) -> None:
    from narratives.integrations.sklearn import _hold_back

    held, kept = _hold_back(posts, 0.2, seed=1)
    assert {p.group for p in held}.isdisjoint({p.group for p in kept})
    assert 0.2 <= len(held) / len(posts) < 0.25


def test_the_bundle_can_be_kept_and_a_bundle_can_be_an_estimator(tmp_path: Path, texts: list[str], targets: np.ndarray) -> None:
    model = NarrativeClassifier(labels=LABELS, output=tmp_path / "model").fit(texts, targets)
    expected = model.predict_proba(texts)
    np.testing.assert_array_equal(Scorer.from_pretrained(tmp_path / "model").predict_proba(texts), expected)
    loaded = NarrativeClassifier.from_pretrained(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(texts), model.predict(texts))


def test_it_travels_to_another_process(fitted: NarrativeClassifier, texts: list[str]) -> None:
    copy = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copy.predict_proba(texts), fitted.predict_proba(texts))


def test_an_encoder_is_a_base_too(tiny_encoder: Path, texts: list[str], targets: np.ndarray) -> None:
    settings = {
        "epochs": 6,
        "precision": "float32",
        "contrastive_epochs": 0,
        "augment": 0.0,
        "learning_rate": 3e-3,
        "head_learning_rate": 1e-2,
    }
    model = NarrativeClassifier(base=str(tiny_encoder), labels=LABELS, train_config=settings).fit(texts, targets)
    assert model.bundle_.kind == "whole"
    assert f1_score(targets, model.predict(texts), average="macro") > 0.8


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ("один текст", [1], r"expected a list of texts, found one text; write \[text\]"),
        ([1, 2], [0, 1], "expected texts, found int; give one column of texts"),
        (["а", "б"], [0, 1, 1], r"y has shape \(3,\), expected \(2,\) or \(2, n_labels\)"),
        (["а", "б"], [[0, 2], [1, 0]], "must hold 0 and 1 only"),
        (["а", "б"], [[0, 1, 0], [1, 0, 0]], "labels has 2 names, y 3 columns"),
        (["а", "а"], [[0, 1], [1, 0]], "2 texts are too few to hold some back for calibration"),
    ],
)
def test_what_does_not_fit_is_said(x: object, y: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        NarrativeClassifier(labels=LABELS).fit(x, y)  # type: ignore[arg-type]


def test_an_unfitted_estimator_says_so() -> None:
    with pytest.raises(NotFittedError):
        NarrativeClassifier().predict(["текст"])
