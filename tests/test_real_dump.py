"""The main job on real posts; skipped where they are not there."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq

from narratives import ScoreConfig, Scorer, job


def test_real_russian_posts_are_scored_whole_and_few_are_flagged(tmp_path: Path, shared_data: Path) -> None:
    source = tmp_path / "part.jsonl"
    lines = (shared_data / "telegram_news_ru" / "messages.jsonl").read_text("utf-8").splitlines()[::35]
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    summary = job.run(source, tmp_path / "out.parquet", Scorer.from_pretrained(config=ScoreConfig()))
    table = pq.read_table(tmp_path / "out.parquet")
    assert table["id"].to_pylist() == [json.loads(line)["id"] for line in lines]
    assert table["text"].to_pylist() == [json.loads(line)["text"] for line in lines]
    assert summary.counts.n_rejected == 0
    assert summary.counts.n_flagged <= 0.1 * len(lines)


def test_real_kazakh_sentences_are_rarely_flagged(shared_data: Path) -> None:
    lines = (shared_data / "kaznerd_kk" / "sentences.jsonl").read_text("utf-8").splitlines()[::20]
    predictions = Scorer.from_pretrained(config=ScoreConfig(evidence=False)).predict([json.loads(line)["text"] for line in lines])
    assert sum(bool(p.labels) for p in predictions) <= 0.1 * len(lines)
