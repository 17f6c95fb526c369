"""The shipped corpus and sample: sound, balanced as promised, and nowhere real."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from narratives import taxonomy
from narratives.readers import detect_format, read_posts
from narratives.records import Post
from narratives.training.corpus import CorpusReport, check_corpus, is_test_group, read_corpus
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def report() -> CorpusReport:
    return check_corpus(ROOT / "data" / "posts", taxonomy.load())


def test_the_check_finds_no_problem(report: CorpusReport) -> None:
    assert report.problems == []


def test_there_are_enough_posts_of_every_kind(report: CorpusReport) -> None:
    assert report.n_posts >= 900
    assert report.languages["ru"] >= 450
    assert report.languages["kk"] >= 350
    assert report.languages["mixed"] + report.languages["kk-latn"] >= 100
    assert 0.4 <= report.n_unlabelled / report.n_posts <= 0.6
    assert min(report.labels[label] for label in taxonomy.load().ids) >= 35
    assert min(report.stances[stance] for stance in ("endorses", "reports", "refutes")) >= 80


def test_every_label_and_language_is_in_the_test_part() -> None:
    posts = [p for p in read_corpus(ROOT / "data" / "posts", taxonomy.load()) if is_test_group(p.group or "")]
    assert {label for p in posts for label in p.labels or ()} == set(taxonomy.load().ids)
    assert {p.language for p in posts} == {"ru", "kk", "mixed", "kk-latn"}


def test_both_readings_of_a_post_are_kept_and_disagreements_are_settled() -> None:
    corpus = {p.id: p for p in read_corpus(ROOT / "data" / "posts", taxonomy.load())}
    for line in (ROOT / "data" / "annotations" / "second_reading.jsonl").read_text("utf-8").splitlines():
        entry = json.loads(line)
        final = entry.get("settled", entry["first"])
        assert entry["first"] == entry["second"] or entry["settled"]["reason"], entry["id"]
        assert (list(corpus[entry["id"]].labels or ()), corpus[entry["id"]].stance) == (final["labels"], final["stance"]), entry["id"]


def test_the_sample_is_a_telegram_export_in_both_languages(sample_dump: Path) -> None:
    assert detect_format(sample_dump) == "telegram_desktop"
    items = list(read_posts(sample_dump))
    assert all(isinstance(item, Post) for item in items)
    assert 100 <= len(items) <= 140


def test_no_text_of_the_real_data_is_in_the_corpus(shared_data: Path) -> None:
    ours = {p.text.strip() for p in read_corpus(ROOT / "data" / "posts", taxonomy.load()) if len(p.text) > 40}
    for name in ("telegram_news_ru/messages.jsonl", "kaznerd_kk/sentences.jsonl", "unlp2025_ru/train.jsonl"):
        for line in (shared_data / name).read_text("utf-8").splitlines():
            assert json.loads(line)["text"].strip() not in ours
