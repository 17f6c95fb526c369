"""New labels from few posts: a bundle that scores, keeps what it knew, and says what it rests on. The tiny random encoder stands for a
real one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from narratives import ScoreConfig, Scorer, taxonomy
from narratives.bundle import ModelBundle
from narratives.config import TrainConfig
from narratives.errors import ConfigError
from narratives.records import Post
from narratives.taxonomy import Taxonomy
from narratives.training.newlabels import train_labels
from tests.conftest import weather_posts

SINGLE = taxonomy.parse(
    'single_label = true\n[[label]]\nid = "rain"\nname = "дождь"\n'
    '[[label]]\nid = "snow"\nname = "снег"\n[[label]]\nid = "open"\nname = "открыта"'
)
MORE = taxonomy.parse('name = "more"\n[[label]]\nid = "rain"\nname = "дождь"\n[[label]]\nid = "bridge"\nname = "мост"')


def few(n: int) -> list[Post]:
    """`n` posts of rain, of snow and of neither, without groups."""
    posts = weather_posts()
    kinds = (("rain",), ("snow",), ())
    return [dataclasses.replace(p, group=None) for kind in kinds for p in [q for q in posts if q.labels == kind][:n]]


def config_of(tiny_encoder: Path) -> TrainConfig:
    return TrainConfig(base_model=str(tiny_encoder))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, weather: Taxonomy, tiny_encoder: Path) -> ModelBundle:
    folder = tmp_path_factory.mktemp("few") / "weather"
    return train_labels(few(8), [None] * 24, weather, folder, config=config_of(tiny_encoder), command="narratives train --data few.jsonl")


def test_eight_posts_a_label_are_enough_to_tell_unseen_posts_apart(bundle: ModelBundle) -> None:
    unseen = [p for p in weather_posts() if p.text not in {q.text for q in few(8)}][:90]
    found = Scorer.from_bundle(bundle, config=ScoreConfig(evidence=False)).predict(unseen)
    right = np.mean([p.labels == q.labels for p, q in zip(found, unseen, strict=True)])
    assert right > 0.8


def test_the_card_says_that_cross_validation_measured_it_and_how_few_posts_there_were(bundle: ModelBundle) -> None:
    assert "by cross-validation on the 24 posts themselves" in bundle.card
    assert "Fewer than 16 posts: `rain`, `snow`." in bundle.card
    assert "narratives train --data few.jsonl" in bundle.card


def test_without_annotated_stances_predictions_have_none(tmp_path: Path, weather: Taxonomy, tiny_encoder: Path) -> None:
    posts = [dataclasses.replace(p, stance=None) for p in few(8)]
    made = train_labels(posts, [None] * 24, weather, tmp_path / "plain", config=config_of(tiny_encoder))
    found = Scorer.from_bundle(made).predict([p.text for p in posts[:8]])
    assert any(p.labels for p in found)
    assert all(p.stance is None and p.stance_probabilities == {} for p in found)


def test_a_single_label_taxonomy_flags_exactly_one_label_a_post(tmp_path: Path, tiny_encoder: Path) -> None:
    posts = [dataclasses.replace(p, labels=p.labels or ("open",), stance=None) for p in few(12)]
    made = train_labels(posts, [None] * 36, SINGLE, tmp_path / "single", config=config_of(tiny_encoder))
    scorer = Scorer.from_bundle(made, config=ScoreConfig(evidence=False))
    found = scorer.predict([p.text for p in posts])
    assert all(len(p.labels) == 1 for p in found)
    assert np.allclose(scorer.predict_proba([p.text for p in posts]).sum(axis=1), 1, atol=1e-5)
    assert made.calibration.exclusive == "one"


def test_single_label_data_with_posts_of_no_label_may_flag_nothing(tmp_path: Path, tiny_encoder: Path) -> None:
    two = dataclasses.replace(SINGLE, labels=SINGLE.labels[:2])
    posts = [dataclasses.replace(p, stance=None) for p in few(12)]
    made = train_labels(posts, [None] * 36, two, tmp_path / "single", config=config_of(tiny_encoder))
    found = Scorer.from_bundle(made, config=ScoreConfig(evidence=False)).predict([p.text for p in posts])
    assert made.calibration.exclusive == "at most one"
    assert {len(p.labels) for p in found} == {0, 1}
    assert sum(p.labels == q.labels for p, q in zip(found, posts, strict=True)) > 30


def test_from_a_bundle_old_labels_say_what_they_said_and_new_ones_are_added(tmp_path: Path, tiny_bundle: ModelBundle) -> None:
    posts = [dataclasses.replace(p, labels=("bridge",) if "мост" in p.text else ()) for p in weather_posts()]
    extended = train_labels(posts, [None] * len(posts), MORE, tmp_path / "more", start=tiny_bundle)
    assert extended.labels == ("rain", "snow", "bridge")
    texts = [p.text for p in weather_posts()]
    # One engine for both: each bundle's own check of engines chooses on its own, and bfloat16 differs from float32 by more than this.
    before, after = (Scorer.from_bundle(b, config=ScoreConfig(evidence=False, backend="onnx")) for b in (tiny_bundle, extended))
    assert np.allclose(before.predict_proba(texts), after.predict_proba(texts)[:, :2], atol=1e-5)
    old, new = before.predict(texts), after.predict(texts)
    assert [p.labels for p in old] == [tuple(i for i in p.labels if i != "bridge") for p in new]
    assert [p.stance for p in old if p.labels] == [p.stance for q, p in zip(old, new, strict=True) if q.labels]
    truth = np.array(["мост" in t for t in texts])
    assert (np.array(["bridge" in p.labels for p in new]) == truth).mean() > 0.95
    assert "Started from" in extended.card


def test_a_bundle_that_knows_all_labels_already_is_refused(tmp_path: Path, tiny_bundle: ModelBundle, weather: Taxonomy) -> None:
    with pytest.raises(ConfigError, match="has all of these labels already: rain, snow"):
        train_labels(few(8), [None] * 24, weather, tmp_path / "x", start=tiny_bundle)


def test_a_linear_bundle_takes_no_labels(tmp_path: Path, linear_bundle: ModelBundle) -> None:
    with pytest.raises(ConfigError, match="is a linear bundle, whose features depend on its labels"):
        train_labels(few(8), [None] * 24, MORE, tmp_path / "x", start=linear_bundle)


def test_a_split_that_the_data_came_with_is_kept(tmp_path: Path, weather: Taxonomy, tiny_encoder: Path) -> None:
    posts = few(20)
    parts = ["test" if i % 4 == 0 else "train" for i in range(len(posts))]
    made = train_labels(posts, parts, weather, tmp_path / "parts", config=config_of(tiny_encoder))
    metrics = made.metrics["new_labels"]
    assert metrics["measured_on"] == "test"
    assert metrics["n_posts"] == {"train": 45, "test": 15}


def test_posts_without_any_label_cannot_be_trained_on(tmp_path: Path, weather: Taxonomy, tiny_encoder: Path) -> None:
    posts = [p for p in few(8) if not p.labels]
    with pytest.raises(ConfigError, match="no post has a label; with definitions alone use `narratives rank`"):
        train_labels(posts, [None] * 8, weather, tmp_path / "x", config=config_of(tiny_encoder))


def test_a_taxonomy_survives_being_written_and_read() -> None:
    whole = taxonomy.load("kazakhstan")
    assert taxonomy.parse(taxonomy.dump(whole)) == whole
    odd = dataclasses.replace(SINGLE, labels=(dataclasses.replace(SINGLE.labels[0], names={"en": 'a "b" \\ \x7f\n'}),))
    assert taxonomy.parse(taxonomy.dump(odd)).labels == odd.labels
