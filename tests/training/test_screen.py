import dataclasses
from pathlib import Path

import numpy as np
import pytest

from narratives import Post, ScoreConfig, Scorer
from narratives.backends.linear import LinearModel
from narratives.bundle import ModelBundle
from narratives.errors import BundleError
from narratives.training.linear import fit_linear
from narratives.training.measure import measure_screen
from narratives.training.screen import LABELS_SHARE, MAX_MISSED, MIN_FLAGGED, choose_threshold, fit_screen

ORDINARY = [Post(text=f"Продам {thing} недорого, самовывоз, торг {n}") for n in range(10) for thing in ("диван", "шкаф", "гараж", "щенка")]


@pytest.fixture(scope="module")
def screened_bundle(linear_bundle: ModelBundle, posts: list[Post], tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """A linear bundle with a linear part that adds nothing, and a screen."""
    weights = dict(fit_linear(posts, linear_bundle.taxonomy, seed=1))
    weights |= {name: weights[name] * 0 for name in ("labels.weight", "labels.bias", "stance.weight", "stance.bias")}
    weights |= {f"screen.{name}": value for name, value in fit_screen(posts, ORDINARY, weights["idf"], seed=1).items()}
    joined = {**linear_bundle.weights, **{f"joined.{name}": value for name, value in weights.items()}}
    calibration = dataclasses.replace(linear_bundle.calibration, screen_threshold=-2.0)
    folder = tmp_path_factory.mktemp("screened") / "screened"
    return dataclasses.replace(linear_bundle, weights=joined, calibration=calibration).save_pretrained(folder)


def test_the_screen_tells_narratives_from_adverts(screened_bundle: ModelBundle, posts: list[Post]) -> None:
    part = screened_bundle.linear_part()
    assert part is not None
    labelled = LinearModel(part).outputs([post.text for post in posts if post.labels])["screen"]
    assert labelled.min() > LinearModel(part).outputs([post.text for post in ORDINARY])["screen"].max()


def test_the_highest_logit_of_a_label_adds_to_the_screens(linear_bundle: ModelBundle, posts: list[Post]) -> None:
    fitted = fit_linear(posts, linear_bundle.taxonomy, seed=1)
    screen = {f"screen.{name}": value for name, value in fit_screen(posts, ORDINARY, fitted["idf"], seed=1).items()}
    texts = [post.text for post in posts]
    with_labels = LinearModel({**fitted, **screen}).outputs(texts)
    without = LinearModel({**fitted, **{name: value for name, value in screen.items() if name != "screen.labels"}}).outputs(texts)
    np.testing.assert_array_equal(with_labels["labels"], without["labels"])
    added = with_labels["screen"] - without["screen"]
    np.testing.assert_allclose(added, LABELS_SHARE * without["labels"].max(axis=1, keepdims=True), rtol=1e-4, atol=1e-5)
    assert np.ptp(added) > 0


@pytest.mark.parametrize(("name", "shape"), [("labels", (2,)), ("weight", (2, 3)), ("bias", (2,))])
def test_a_screen_of_other_shape_is_refused(screened_bundle: ModelBundle, tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    weights = {**screened_bundle.weights, f"joined.screen.{name}": np.zeros(shape, np.float32)}
    with pytest.raises(BundleError, match="screen"):
        dataclasses.replace(screened_bundle, weights=weights).save_pretrained(tmp_path / "odd")


def test_a_dropped_post_says_so_and_has_no_probabilities(screened_bundle: ModelBundle) -> None:
    scorer = Scorer.from_bundle(screened_bundle, config=ScoreConfig(screen=True))
    assert scorer.screens
    rain, sofa = scorer.predict(["Точно говорю: дорога, льёт дождь вчера вечером.", "Продам диван недорого, самовывоз"])
    assert (rain.screened, rain.labels) == (False, ("rain",))
    assert sofa.screened
    assert not sofa.labels
    assert not sofa.probabilities
    assert not sofa.stance_probabilities
    assert sofa.stance is None


def test_what_passes_is_scored_as_without_a_screen(screened_bundle: ModelBundle, posts: list[Post]) -> None:
    mixed = [post for pair in zip(posts, ORDINARY, strict=False) for post in pair]
    whole = Scorer.from_bundle(screened_bundle).predict(mixed)
    screened = Scorer.from_bundle(screened_bundle, config=ScoreConfig(screen=True)).predict(mixed)
    assert [p.post for p in screened] == mixed
    assert any(p.screened for p in screened)
    assert [p for p in screened if not p.screened] == [w for w, p in zip(whole, screened, strict=True) if not p.screened]


def test_there_is_no_screen_at_high_recall_nor_unasked(screened_bundle: ModelBundle) -> None:
    points = {"high_recall": (0.01, 0.01), "high_precision": (0.9, 0.9)}
    calibration = dataclasses.replace(screened_bundle.calibration, operating_points=points)
    bundle = dataclasses.replace(screened_bundle, calibration=calibration)
    assert not Scorer.from_bundle(bundle, config=ScoreConfig(screen=True, operating_point="high_recall")).screens
    assert Scorer.from_bundle(bundle, config=ScoreConfig(screen=True, operating_point="high_precision")).screens
    assert not Scorer.from_bundle(bundle).screens


def test_probabilities_of_every_post_are_there_for_who_asks(screened_bundle: ModelBundle) -> None:
    scorer = Scorer.from_bundle(screened_bundle, config=ScoreConfig(screen=True))
    assert (scorer.predict_proba(["Продам диван недорого, самовывоз"]) > 0).all()


def test_the_threshold_drops_at_most_one_in_a_hundred(posts: list[Post]) -> None:
    rng = np.random.default_rng(0)
    logits, flagged = rng.normal(size=1000).astype(np.float32), rng.random(1000) < 0.3
    chosen = choose_threshold(logits, flagged)
    assert chosen is not None
    threshold, figures = chosen
    n_dropped = int((logits[flagged] < threshold).sum())
    assert n_dropped <= MAX_MISSED * flagged.sum()
    assert n_dropped == figures["n_missed"]
    assert n_dropped / flagged.sum() < figures["missed_at_most"] < 0.05


@pytest.mark.parametrize(("n", "n_missed"), [(MIN_FLAGGED, 0), (230, 0), (388, 1), (2000, 13)])
def test_as_many_are_dropped_as_a_bound_for_new_posts_allows(n: int, n_missed: int) -> None:
    logits = np.arange(n, dtype=np.float32)
    chosen = choose_threshold(logits, np.ones(n, bool))
    assert chosen is not None
    threshold, figures = chosen
    assert (logits < threshold).sum() == figures["n_missed"] == n_missed
    assert (figures["missed_at_most"] <= MAX_MISSED) == (n >= 230)


def test_too_few_flagged_posts_make_no_screen() -> None:
    assert choose_threshold(np.zeros(500, np.float32), np.arange(500) < MIN_FLAGGED - 1) is None


def test_dropped_posts_are_counted(screened_bundle: ModelBundle, posts: list[Post]) -> None:
    predictions = Scorer.from_bundle(screened_bundle).predict([*posts, *ORDINARY])
    figures = measure_screen(screened_bundle, {"all": predictions})["sets"]["all"]
    assert figures["n_posts"] == len(posts) + len(ORDINARY)
    assert figures["n_passed"] < len(posts) + 1
    assert figures["n_flagged"] > 0
    assert figures["n_missed"] == 0


def test_a_threshold_without_a_screen_is_refused(linear_bundle: ModelBundle, tmp_path: Path) -> None:
    calibration = dataclasses.replace(linear_bundle.calibration, screen_threshold=0.0)
    with pytest.raises(BundleError, match="no screen"):
        dataclasses.replace(linear_bundle, calibration=calibration).save_pretrained(tmp_path / "broken")
