"""Which way to train: what was asked for holds, contradictions are told, and a split that data bring is kept."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from narratives import bundle as bundles
from narratives.cli import app
from narratives.config import TrainConfig
from narratives.errors import ConfigError
from narratives.taxonomy import Taxonomy
from narratives.training.corpus import is_test_group
from narratives.training.journeys import choose
from narratives.training.loaders import Annotated
from narratives.training.newlabels import TUNED
from tests.conftest import TOML, weather_posts


def annotated(*parts: str | None) -> Annotated:
    """The posts, in turn in each of these parts."""
    posts = weather_posts()
    return Annotated(posts, [parts[i % len(parts)] if parts else None for i in range(len(posts))])


@pytest.fixture
def single(weather: Taxonomy) -> Taxonomy:
    return dataclasses.replace(weather, single_label=True)


def test_few_posts_train_labels_and_a_corpus_of_events_trains_by_events(weather: Taxonomy) -> None:
    assert not choose(annotated(), weather, {}).by_events
    many = [dataclasses.replace(p, group=f"{p.group}-{i}") for i in range(6) for p in weather_posts()]
    assert choose(Annotated(many, [None] * len(many)), weather, {"epochs": 3}).by_events
    assert not choose(Annotated(many, ["train"] * len(many)), weather, {}).by_events
    assert not choose(Annotated(many, [None] * len(many)), weather, {}, budget="fast").by_events


@pytest.mark.parametrize(
    "options", [{"has_background": True}, {"given": {"base_model": "linear"}}, {"given": {"base_model": "xlm-roberta-base"}}]
)
def test_the_split_that_data_bring_is_kept_on_the_way_by_events(weather: Taxonomy, options: dict[str, object]) -> None:
    found = annotated("train", "test", None, "validation")
    plan = choose(found, weather, **{"given": {}, **options})  # type: ignore[arg-type]
    assert plan.by_events
    assert plan.split is not None
    assert plan.split.test == found.posts[1::4]
    assert plan.split.validation == found.posts[3::4]
    assert plan.split.train == [p for i, p in enumerate(found.posts) if i % 4 in (0, 2)]


def test_without_a_validation_part_one_is_held_out_of_the_training_posts_only(weather: Taxonomy) -> None:
    found = annotated("train", "train", "train", "test")
    split = choose(found, weather, {}, has_background=True).split
    assert split is not None
    assert split.test == found.posts[3::4]
    assert 0 < len(split.validation) < len(split.train)
    assert {p.id for p in split.train} | {p.id for p in split.validation} == {p.id for i, p in enumerate(found.posts) if i % 4 != 3}
    assert not {p.group for p in split.train} & {p.group for p in split.validation}
    assert any(is_test_group(p.group or "") for p in split.train)  # the name of a group decides nothing here


def test_parts_that_are_no_split_are_told(weather: Taxonomy) -> None:
    with pytest.raises(ConfigError, match="no post is in the test part; expected train and test"):
        choose(annotated("train", "validation"), weather, {}, has_background=True)


def test_posts_that_data_call_test_are_measured_on_and_not_trained_on(tmp_path: Path) -> None:
    posts = weather_posts()
    rows = [
        {"text": p.text, "labels": list(p.labels or ()), "group": p.group, "split": ("train", "validation", "test")[i // 3 % 3]}
        for i, p in enumerate(posts)
    ]
    data, labels = tmp_path / "a.jsonl", tmp_path / "weather.toml"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    labels.write_text(TOML, encoding="utf-8")
    arguments = ["train", "--data", data, "--labels", labels, "--base-model", "linear", "-o", tmp_path / "m"]
    done = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert bundles.load(str(tmp_path / "m")).metrics["n_posts"] == {"train": 60, "validation": 60, "test": 60}


@pytest.mark.parametrize("budget", ["standard", "thorough"])
def test_what_somebody_chose_wins_over_the_budget(weather: Taxonomy, budget: str) -> None:
    plan = choose(annotated(), weather, {"epochs": TrainConfig().epochs, "learning_rate": 1e-5}, budget=budget)  # type: ignore[arg-type]
    assert (plan.budget, plan.config.epochs, plan.config.learning_rate) == (budget, TrainConfig().epochs, 1e-5)
    assert plan.config.train_layers == TUNED[budget]["train_layers"]
    assert choose(annotated(), weather, {}, budget=budget).config.epochs == TUNED[budget]["epochs"]  # type: ignore[arg-type]


LINEAR = {"base_model": "linear"}
OTHER = {"base_model": "xlm-roberta-base"}


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ({}, {"has_background": True, "budget": "fast"}, "--background and --budget fast do not go together: no way of training has both"),
        ({}, {"has_background": True, "has_start": True}, "--background and --from do not go together"),
        (LINEAR, {"budget": "standard"}, "--base-model linear and --budget standard do not go together"),
        (LINEAR, {"has_start": True}, "--base-model linear and --from do not go together"),
        (OTHER, {"has_start": True}, "--from takes its bundle's encoder, and --base-model names 'xlm-roberta-base'; leave one"),
        ({}, {"has_start": True, "budget": "thorough"}, "--from keeps its bundle's encoder as it is, and --budget thorough tunes one"),
        (
            OTHER,
            {"budget": "standard"},
            "--budget standard tunes the shipped encoder only; with --base-model xlm-roberta-base take --budget",
        ),
        (
            {"epochs": 3},
            {},
            "epochs: set, but for these 180 posts the budget is fast, which does not use it; leave it out, or pass --budget st",
        ),
        ({"epochs": 3}, {"budget": "fast"}, "epochs: set, but here the budget is fast"),
        ({"max_length": 64}, {"has_start": True}, "max_length: set, but here the budget is fast, which does not use it; leave it out$"),
        ({"linear_part": False}, {"budget": "standard"}, "linear_part: set, but here the budget is standard"),
    ],
)
def test_options_that_contradict_each_other_are_told(
    weather: Taxonomy, given: dict[str, object], options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        choose(annotated(), weather, given, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "options", "first"), [({}, {"has_background": True}, "--background"), (LINEAR, {}, "--base-model linear")]
)
def test_one_label_a_post_is_not_trained_by_events(
    single: Taxonomy, given: dict[str, object], options: dict[str, bool], first: str
) -> None:
    with pytest.raises(ConfigError, match=f"{first} and single_label do not go together"):
        choose(annotated(), single, given, **options)  # type: ignore[arg-type]


def test_options_that_fit_are_taken(weather: Taxonomy, single: Taxonomy) -> None:
    assert choose(annotated(), weather, {"max_length": 64, "seed": 5}).config == TrainConfig(max_length=64, seed=5)
    assert choose(annotated(), weather, {}, has_start=True, budget="fast").budget == "fast"
    assert choose(annotated(), weather, OTHER, budget="fast").config.base_model == "xlm-roberta-base"
    assert not choose(annotated(), single, OTHER).by_events
