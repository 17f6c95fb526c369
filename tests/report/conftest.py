"""Outputs of `narratives score` made by hand, so that every number of a report is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from narratives import plugins
from narratives.records import Evidence, Post, Prediction, Stance
from narratives.writers.table import to_batch

LABELS = ("rain", "snow")
START = datetime(2023, 10, 9, 8, 0, tzinfo=UTC)


def at(hours: float = 0, *, seconds: float = 0) -> datetime:
    return START + timedelta(hours=hours, seconds=seconds)


def said(
    text: str,
    channel: str | None,
    when: datetime | None,
    *labels: str,
    stance: Stance = "endorses",
    sure: float = 0.9,
    views: int | None = 100,
    source: str | None = None,
    source_at: datetime | None = None,
    language: str = "ru",
    id: str | None = None,
    url: str | None = None,
) -> Prediction:
    post = Post(
        text=text,
        id=id or f"{channel}:{when}",
        channel=channel,
        published_at=when,
        url=url,
        views=views,
        forwards=3,
        forwarded_from=source,
        forwarded_at=source_at,
    )
    return Prediction(
        post=post,
        labels=labels,
        probabilities={label: 0.9 if label in labels else 0.1 for label in LABELS},
        stance=stance if labels else None,
        stance_probabilities={"endorses": 0.05, "reports": 0.05, "refutes": 0.05} | ({stance: sure} if labels else {}),
        evidence=tuple(Evidence(label, 0, min(12, len(text)), 0.8) for label in labels if text),
        language=language,
        model="weather@1",
    )


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(predictions: Sequence[Prediction], name: str = "out.parquet") -> Path:
        path = tmp_path / name
        kind = plugins.by_suffix(plugins.WRITERS, path.suffix)
        assert kind is not None
        writer = plugins.load("output format", plugins.WRITERS, kind)(path, LABELS)
        if predictions:
            writer.write(to_batch(predictions, LABELS))
        writer.close()
        return path

    return write
