"""The dump that re-enacts a false story, scored by the shipped bundle: the report must find what is known to be true of it."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from narratives import job
from narratives.cli import app
from narratives.report.build import Report, Section, build
from narratives.report.spread import Confidence
from narratives.scorer import Scorer
from tests.conftest import ROOT

FOLDER = ROOT / "data" / "samples" / "kazcent-demo"
PERIODS = "2023-10-09..2023-10-11,2023-10-12..2023-10-14"


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    return dict(json.loads((FOLDER / "truth.json").read_text("utf-8")))


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "demo.parquet"
    job.run(FOLDER / "posts.ndjson", path, Scorer.from_pretrained())
    return path


@pytest.fixture(scope="module")
def report(scored: Path) -> Report:
    return build(scored, periods=PERIODS)


@pytest.fixture(scope="module")
def story(report: Report, truth: dict[str, Any]) -> Section:
    return next(s for s in report.sections if s.narrative.label == truth["label"])


def minute(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_the_first_poster_is_found_though_its_post_is_not_in_the_dump(story: Section, truth: dict[str, Any]) -> None:
    first = story.first[0]
    assert (first.channel, first.at) == (truth["first_poster"]["channel"], minute(truth["first_poster"]["at"]))
    assert first.confidence is Confidence.STATED_BY_FORWARDS
    assert first.views is None


def test_channels_took_the_story_up_in_the_known_order_and_at_the_known_times(story: Section, truth: dict[str, Any]) -> None:
    known = [(row["channel"], minute(row["at"])) for row in truth["order_of_spread"]]
    assert [(a.channel, a.at) for a in story.first[: len(known)]] == known
    # Whoever comes after them only answered the story, which the model did not always see.
    assert {a.channel for a in story.first[len(known) :]} <= {"fakt_kz_demo", "mincenter_press_demo"}


def test_views_of_the_story_are_those_of_its_posts(report: Report, truth: dict[str, Any]) -> None:
    assert report.views_of_all.total == pytest.approx(truth["views"]["all_story_posts"], rel=0.05)
    # Mocking endorsements that the model takes for denials are missing here: 82% when this was written.
    assert report.views.total is not None
    assert 0.75 < report.views.total / truth["views"]["spreading"] <= 1.02


def test_the_denial_is_dated_to_the_second(story: Section, truth: dict[str, Any]) -> None:
    assert (story.denials[0].channel, story.denials[0].at) == (truth["denial"]["channel"], minute(truth["denial"]["at"]))


def test_the_story_is_flagged_and_the_rest_is_not(report: Report, truth: dict[str, Any]) -> None:
    known = {row["id"] for row in truth["story"]}
    flagged = {post.id for post in report.dump.flagged}
    assert report.dump.n_posts == truth["n_posts"]
    assert len(flagged & known) / len(known) >= 0.95
    assert len(flagged - known) <= 5


def test_the_corrected_count_holds_the_true_one(report: Report, story: Section, truth: dict[str, Any]) -> None:
    assert report.flagged_corrected is not None
    assert report.flagged_corrected.low <= truth["n_story_posts"] / truth["n_posts"] <= report.flagged_corrected.high
    cell = story.narrative.all_languages
    assert cell.corrected is not None
    assert cell.corrected.low * 600 <= truth["n_story_posts"] <= cell.corrected.high * 600


def test_the_pair_that_posts_in_the_same_minute_is_the_strongest(report: Report, truth: dict[str, Any]) -> None:
    assert [report.co_posting[0].a, report.co_posting[0].b] == truth["co_posting"]
    assert report.network.nodes[0].channel == "frontline_notes_demo"
    assert next(n for n in report.network.nodes if n.channel == truth["first_poster"]["channel"]).n_posts == 0


def test_the_command_writes_page_and_assets(scored: Path, tmp_path: Path) -> None:
    arguments = ["report", str(scored), "-o", str(tmp_path / "r.html"), "--assets", str(tmp_path / "figures"), "--compare", PERIODS]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    page = (tmp_path / "r.html").read_text("utf-8")
    assert "severny_post_demo" in page and "Two periods" in page and "Сарыбел" in page
    assert len(page) < 2_000_000
    assert (tmp_path / "figures" / "network.gexf").is_file() and (tmp_path / "figures" / "cumulative-views.png").is_file()
    refused = CliRunner().invoke(app, ["report", str(scored), "-o", str(tmp_path / "r.pdf")])
    assert "unknown ending '.pdf'; expected .html" in str(refused.exception)
