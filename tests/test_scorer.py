"""The library contract."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys

import numpy as np
import pytest

from narratives import Post, ScoreConfig, Scorer
from narratives.bundle import ModelBundle
from narratives.errors import ConfigError, UnknownName
from narratives.scorer import choose_backend

RAIN = "Точно говорю: дорога, льёт дождь вчера вечером."
SNOW = "Сообщают соседи: школа, валит снег весь день."
NOTHING = "Рынок открыт для всех в пятницу."


@pytest.fixture(scope="module")
def scorer(linear_bundle: ModelBundle) -> Scorer:
    return Scorer.from_bundle(linear_bundle)


@pytest.fixture(scope="module")
def keen(linear_bundle: ModelBundle) -> Scorer:
    """With low thresholds: a word among many counts."""
    calibration = dataclasses.replace(linear_bundle.calibration, thresholds=(0.1, 0.1))
    return Scorer.from_bundle(dataclasses.replace(linear_bundle, calibration=calibration))


def test_from_pretrained_takes_a_folder(linear_bundle: ModelBundle) -> None:
    assert linear_bundle.path is not None
    for given in (linear_bundle.path, str(linear_bundle.path)):
        assert Scorer.from_pretrained(given).labels == ("rain", "snow")


def test_a_post_above_a_threshold_gets_its_label_and_a_stance(scorer: Scorer) -> None:
    rain, snow, nothing = scorer.predict([RAIN, SNOW, NOTHING])
    assert (rain.labels, snow.labels, nothing.labels) == (("rain",), ("snow",), ())
    assert rain.stance == "endorses"
    assert snow.stance == "reports"
    assert nothing.stance is None
    assert sum(rain.stance_probabilities.values()) == pytest.approx(1.0)
    assert rain.model == scorer.bundle.model_id


def test_a_post_above_two_thresholds_gets_both_labels_strongest_first(keen: Scorer) -> None:
    [both] = keen.predict(["Точно говорю: льёт дождь, валит снег, льёт дождь вчера вечером."])
    assert set(both.labels) == {"rain", "snow"}
    margins = [both.probabilities[i] - t for i, t in zip(keen.labels, keen.bundle.calibration.thresholds, strict=True)]
    order = [keen.labels[i] for i in np.argsort([-m for m in margins])]
    assert list(both.labels) == order


def test_predictions_carry_their_posts_and_keep_order(scorer: Scorer) -> None:
    posts = [Post(text=text, id=str(i), views=i) for i, text in enumerate([RAIN, NOTHING, SNOW] * 5)]
    assert [p.post for p in scorer.pipe(posts)] == posts


def test_predict_proba_gives_the_same_probabilities(scorer: Scorer) -> None:
    matrix = scorer.predict_proba([RAIN, SNOW, ""])
    assert matrix.shape == (3, 2)
    assert matrix.dtype == np.float32
    for row, prediction in zip(matrix, scorer.predict([RAIN, SNOW, ""]), strict=True):
        assert list(prediction.probabilities.values()) == pytest.approx(row.tolist())
    assert scorer.predict_proba([]).shape == (0, 2)


@pytest.mark.parametrize("text", ["", "   \n", "😂😂", "12345", "\u200b"])
def test_a_post_without_words_gets_no_label(scorer: Scorer, text: str) -> None:
    [prediction] = scorer.predict([text])
    assert prediction.labels == ()
    assert set(prediction.probabilities.values()) == {0.0}
    assert prediction.language == "other"


def test_pipe_streams(linear_bundle: ModelBundle) -> None:
    scorer = Scorer.from_bundle(linear_bundle, config=ScoreConfig(chunk_posts=4))
    taken = 0

    def endless() -> object:
        nonlocal taken
        for i in itertools.count():
            taken += 1
            yield Post(text=f"{RAIN} {i}")

    first = list(itertools.islice(scorer.pipe(endless()), 6))  # type: ignore[arg-type]
    assert len(first) == 6
    assert taken <= 8


def test_chunks_do_not_change_results(linear_bundle: ModelBundle) -> None:
    texts = [RAIN, SNOW, NOTHING, "", RAIN + " " + SNOW] * 3
    expected = [p.probabilities for p in Scorer.from_bundle(linear_bundle).predict(texts)]
    found = [p.probabilities for p in Scorer.from_bundle(linear_bundle, config=ScoreConfig(chunk_posts=2)).predict(texts)]
    assert found == expected


def test_evidence_points_into_the_original_text(keen: Scorer) -> None:
    post = f"Привет всем, друзья! Парк о\u200bткрыт для всех. **Точно говорю**: дорога, льёт дождь вчера вечером. {NOTHING}"
    [prediction] = keen.predict([post])
    assert prediction.labels == ("rain",)
    top = prediction.evidence[0]
    assert top.label == "rain"
    assert post[top.start : top.end] == "Точно говорю**: дорога, льёт дождь вчера вечером."
    assert 0 < top.weight <= 1
    assert sum(e.weight for e in prediction.evidence) <= 1.001


def test_evidence_can_be_switched_off(linear_bundle: ModelBundle) -> None:
    [prediction] = Scorer.from_bundle(linear_bundle, config=ScoreConfig(evidence=False)).predict([RAIN])
    assert prediction.labels
    assert prediction.evidence == ()


def test_only_the_labels_asked_for_are_flagged(linear_bundle: ModelBundle) -> None:
    scorer = Scorer.from_bundle(linear_bundle, config=ScoreConfig(labels=("snow",)))
    rain, snow = scorer.predict([RAIN, SNOW])
    assert rain.labels == ()
    assert snow.labels == ("snow",)
    assert rain.probabilities["rain"] > 0.5
    with pytest.raises(UnknownName, match="unknown label 'rian'.*Did you mean 'rain'"):
        Scorer.from_bundle(linear_bundle, config=ScoreConfig(labels=("rian",)))


def test_a_claim_beyond_the_window_is_found(tiny_bundle: ModelBundle) -> None:
    """The window of the tiny encoder is 64 tokens; the claim stands far behind it."""
    scorer = Scorer.from_bundle(tiny_bundle, config=ScoreConfig(backend="onnx"))
    filler = " ".join([NOTHING] * 20)
    without, long = scorer.predict([f"{filler} {filler}", f"{filler} {RAIN} {filler}"])
    assert not long.truncated
    assert long.probabilities["rain"] > 2 * without.probabilities["rain"]


def test_text_left_unread_is_said(tiny_bundle: ModelBundle) -> None:
    scorer = Scorer.from_bundle(tiny_bundle, config=ScoreConfig(backend="onnx", max_windows=2))
    assert scorer.predict([" ".join([NOTHING] * 60)])[0].truncated


def test_one_text_instead_of_a_list_is_a_clear_error(scorer: Scorer) -> None:
    with pytest.raises(ConfigError, match="expected a list of texts, found one text"):
        scorer.predict("текст")
    with pytest.raises(ConfigError, match="expected texts or posts, found int"):
        scorer.predict([1])  # type: ignore[list-item]


def test_a_backend_that_flips_decisions_is_not_chosen(tiny_bundle: ModelBundle, linear_bundle: ModelBundle) -> None:
    flipping = dataclasses.replace(tiny_bundle, agreement={"openvino": {"flipped_share": 0.02}})
    assert choose_backend(flipping) == "onnx"
    assert choose_backend(dataclasses.replace(tiny_bundle, agreement={})) == "onnx"
    assert choose_backend(linear_bundle) == "linear"


def test_an_operating_point_decides_by_its_own_thresholds(linear_bundle: ModelBundle, posts: list[Post]) -> None:
    flagged = {
        name: sum(len(p.labels) for p in Scorer.from_bundle(linear_bundle, config=ScoreConfig(operating_point=name)).predict(posts))
        for name in ("high_precision", "balanced", "high_recall")
    }
    assert flagged["high_precision"] <= flagged["balanced"] <= flagged["high_recall"]


def test_a_bundle_without_operating_points_says_so(linear_bundle: ModelBundle) -> None:
    old = dataclasses.replace(linear_bundle, calibration=dataclasses.replace(linear_bundle.calibration, operating_points={}))
    with pytest.raises(ConfigError, match="no operating point 'high_recall', only balanced"):
        Scorer.from_bundle(old, config=ScoreConfig(operating_point="high_recall"))


def test_nothing_is_imported_in_the_thread_that_prepares(linear_bundle: ModelBundle) -> None:
    """Ctrl-C in an import of the main thread may leave Python's import lock held: a thread that imports would wait for ever."""
    script = """
import builtins, sys, threading
from narratives import Post, Scorer

scorer, real, found = Scorer.from_pretrained(sys.argv[1]), builtins.__import__, []

def watched(*names, **settings):
    loaded = set(sys.modules)
    module = real(*names, **settings)
    if threading.current_thread() is not threading.main_thread():
        found.extend(set(sys.modules) - loaded)
    return module

builtins.__import__ = watched
texts = ["Ауа райы жылы болады.", "Сәлам, хаерле иртә, дуслар, эшләр ничек бара?", "Tarazda jańbyr jaýady", "Льёт дождь.", ""]
for _ in scorer.pipe_chunks([[Post(text=text) for text in texts]] * 3):
    pass
print(found)
"""
    done = subprocess.run([sys.executable, "-c", script, str(linear_bundle.path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
