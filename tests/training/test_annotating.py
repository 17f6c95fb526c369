"""Ranking, suggesting, checking and comparing: what they say of posts made so that the answer is known."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from narratives import ScoreConfig, Scorer
from narratives.bundle import ModelBundle
from narratives.errors import ConfigError
from narratives.records import Post
from narratives.taxonomy import Taxonomy
from narratives.training import near
from narratives.training.compare import compare
from narratives.training.evaluation import calibration_bins, confusion_between, evaluate_bundle, precision_recall
from narratives.training.evaluation_page import page
from narratives.training.label_errors import as_rows, check_labels
from narratives.training.outputs import write_predictions
from narratives.training.suggest import choose
from tests.conftest import weather_posts


def words_pool(texts: list[str]) -> np.ndarray:
    """Features that any encoder has: which words a text holds, hashed into 64 columns. Deterministic, unlike `hash`."""
    found = np.zeros((len(texts), 64), dtype=np.float32)
    for row, text in enumerate(texts):
        for word in text.lower().replace(",", " ").replace(".", " ").split():
            found[row, sum(ord(c) * (i + 7) for i, c in enumerate(word)) % 64] += 1
    return found


# ---- near-duplicates ----------------------------------------------------------------------------------------------------


def test_near_duplicates_are_found_and_other_posts_are_not() -> None:
    texts = [
        "В Алматы сегодня весь день шёл сильный дождь и дул ветер",
        "Совсем о другом: завтра откроется новая школа в центре",
        "В Алматы сегодня весь день шёл сильный дождь и дул ветер!!",
        "В Алматы вчера было солнечно, ветра не было вовсе",
    ]
    assert [(a, b) for a, b, _ in near.pairs(texts)] == [(2, 0)]
    assert near.distinct(enumerate(texts), 10) == [0, 1, 3]


# ---- suggestions --------------------------------------------------------------------------------------------------------


def chosen_from(posts: list[Post], weather: Taxonomy, n: int, **more: object) -> list:
    texts = [p.text for p in posts]
    described = words_pool(["льёт дождь", "валит снег"])
    return choose(posts, weather, n, features=words_pool(texts), described=described, **more)  # type: ignore[arg-type]


def test_suggestions_hold_no_near_duplicates_and_none_of_what_is_annotated(weather: Taxonomy) -> None:
    posts = weather_posts()
    copies = [dataclasses.replace(p, text=p.text + "!") for p in posts[:40]]
    annotated = posts[:10]
    found = chosen_from([*posts, *copies], weather, 50, annotated=annotated, annotated_features=words_pool([p.text for p in annotated]))
    everything = [*posts, *copies]
    texts = [everything[s.row].text for s in found]
    assert len(texts) > 20
    assert not list(near.pairs([*(p.text for p in annotated), *texts]))


def test_a_label_with_fewer_annotated_posts_gets_more_suggestions(weather: Taxonomy) -> None:
    posts = weather_posts()
    annotated = [p for p in posts if p.labels == ("rain",)][:25]
    found = chosen_from(posts, weather, 30, annotated=annotated, annotated_features=words_pool([p.text for p in annotated]))
    for_label = [s.label for s in found if s.why == "rare"]
    untouched = [s.label for s in chosen_from(posts, weather, 30) if s.why == "rare"]
    assert for_label.count("snow") >= 2 * max(1, for_label.count("rain"))
    assert untouched.count("rain") >= untouched.count("snow") // 2 > 0


def test_with_a_model_those_nearest_to_the_threshold_are_asked_for(weather: Taxonomy) -> None:
    posts = weather_posts()
    probabilities = np.full((len(posts), 2), 0.01, dtype=np.float32)
    probabilities[17, 0], probabilities[90, 1] = 0.52, 0.47
    found = chosen_from(posts, weather, 12, probabilities=probabilities, thresholds=np.array([0.5, 0.5], dtype=np.float32))
    assert {17, 90} <= {s.row for s in found[:5]}


def test_suggestions_are_written_as_the_review_page_reads_them(tmp_path: Path, linear_bundle: ModelBundle) -> None:
    predictions = Scorer.from_bundle(linear_bundle).predict([p.text for p in weather_posts()[:5]])
    write_predictions(tmp_path / "next.parquet", predictions, linear_bundle.labels)
    table = pq.read_table(tmp_path / "next.parquet")
    assert table.num_rows == 5
    assert {"text", "labels", "p_rain", "evidence", "model"} <= set(table.column_names)
    with pytest.raises(ConfigError, match="exists; choose another name or pass --overwrite"):
        write_predictions(tmp_path / "next.parquet", predictions, linear_bundle.labels)


# ---- checking labels ----------------------------------------------------------------------------------------------------


def test_planted_label_errors_are_found_and_sound_posts_are_left_alone(weather: Taxonomy) -> None:
    posts = [dataclasses.replace(p, stance=None) for p in weather_posts()]
    planted = {7, 40, 81, 121, 155}
    for row in planted:
        posts[row] = dataclasses.replace(posts[row], labels=() if "rain" in (posts[row].labels or ()) else ("rain",))
    report = check_labels(posts, [None] * len(posts), weather, pool=words_pool)  # type: ignore[arg-type]  # a list is a sequence
    named = {d.row for d in report.doubts if d.label == "rain"}
    assert len(named & planted) >= 3
    assert len(named - planted) <= 2


def test_contradicting_copies_and_leaks_between_parts_are_found(weather: Taxonomy) -> None:
    text = "Говорят, что завтра по всей области весь день будет лить дождь"
    posts = [
        Post(text, id="a", labels=("rain",)),
        Post(text + "!", id="b", labels=()),
        Post("Совсем другое: открылась школа у моста на площади", id="c", labels=(), group="g"),
        Post("А вот рынок закрыт до самой пятницы, говорят люди", id="d", labels=(), group="g"),
    ]
    report = check_labels(posts, ["train", "test", "train", "test"], weather, pool=words_pool)  # type: ignore[arg-type]
    assert [(p.row, p.other, p.problem) for p in report.contradictions] == [(1, 0, "other labels")]
    assert [(p.row, p.other, p.problem) for p in report.leaks] == [(1, 0, "train and test"), (3, 2, "one group in train and test")]
    assert report.skipped == ["rain", "snow"]
    assert {row["kind"] for row in as_rows(report, posts)} == {"contradiction", "leak"}


# ---- comparing ----------------------------------------------------------------------------------------------------------


def test_a_bundle_that_flags_nothing_is_shown_to_be_worse_and_what_it_broke_is_listed(linear_bundle: ModelBundle) -> None:
    deaf = dataclasses.replace(linear_bundle, calibration=dataclasses.replace(linear_bundle.calibration, thresholds=(1.0, 1.0)))
    found = compare(linear_bundle, deaf, weather_posts())
    row = found.rows[0]
    assert (row.name, row.what, row.verdict) == ("all", "labels", "worse")
    assert row.difference.high < 0
    assert found.n_changes["rain"]["broken"] >= 50
    assert all(not c.now for c in found.changes)
    assert {r.name for r in found.rows} >= {"all", "kk", "ru", "rain", "snow"}
    json.dumps(found.to_json())


def test_a_bundle_does_not_differ_from_itself(linear_bundle: ModelBundle) -> None:
    found = compare(linear_bundle, linear_bundle, weather_posts())
    assert all(r.verdict == "no difference shown" and r.difference.value == 0 for r in found.rows)
    assert found.changes == []


# ---- the evaluation and its page ----------------------------------------------------------------------------------------


def test_calibration_bins_and_curves_are_what_counting_by_hand_gives() -> None:
    probabilities = np.array([0.95, 0.91, 0.2, 0.15], dtype=np.float32)
    targets = np.array([True, False, True, False])
    bins = calibration_bins(probabilities, targets)
    assert [(round(b.probability, 2), b.share, b.n) for b in bins] == [(0.15, 0.0, 1), (0.2, 1.0, 1), (0.93, 0.5, 2)]
    assert np.allclose(precision_recall(probabilities, targets), [(0.5, 1.0), (0.5, 0.5), (1.0, 2 / 3), (1.0, 0.5)])


def test_confusion_says_what_was_given_instead() -> None:
    targets = np.array([[True, False], [True, False], [False, False]])
    flagged = np.array([[False, True], [False, False], [True, False]])
    assert confusion_between(targets, flagged, ("rain", "snow")) == {"rain": {"snow": 1, "(none)": 1}, "snow": {}, "(none)": {"rain": 1}}


def test_the_page_holds_the_figures_escapes_posts_and_loads_nothing(linear_bundle: ModelBundle) -> None:
    evil = Post('<script>alert(1)</script> льёт дождь <img src=x onerror="x">\u202e\x1b[31m', id="<b>", labels=("snow",), language="ru")
    deaf = dataclasses.replace(linear_bundle, calibration=dataclasses.replace(linear_bundle.calibration, thresholds=(0.01, 0.99)))
    scorer = Scorer.from_bundle(deaf, config=ScoreConfig(evidence=False))
    evaluation = evaluate_bundle(scorer, [*weather_posts(), evil])
    assert any(e.post is evil for e in evaluation.errors)
    text = page(evaluation)
    assert "<script" not in text
    assert "<img" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert text.count("<svg") == 3
    assert not [part for part in text.split('"') if part.startswith("http") and "w3.org" not in part]
    figures = evaluation.to_json()
    assert figures["calibration_curve"]["rain"]
    assert f"{figures['all']['labels_macro_f1']['value']:.3f}" in text
