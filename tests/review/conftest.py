"""A small output of `narratives score` as its own writer makes it, a server on it, and a browser."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from narratives import taxonomy
from narratives.records import Evidence, Post, Prediction
from narratives.review.rows import OpenedOutput, open_output
from narratives.review.server import opened, uvicorn_server
from narratives.review.store import Choice, Item
from narratives.writers.parquet import ParquetWriter
from narratives.writers.table import to_batch

LABELS = taxonomy.load("kazakhstan").ids
THRESHOLDS = {label: round(0.3 + 0.03 * n, 2) for n, label in enumerate(LABELS)}
START = datetime(2023, 10, 1, tzinfo=UTC)
HOSTILE = (
    '</p><img src=x onerror="window.hacked=1"><script>window.hacked=1</script> НАТО \u202eakaw\u202c {{7*7}} \u200fשלום. Second sentence.'
)
COPIED = "Под Алматы открыли базу НАТО. Об этом молчат."
TOKEN = "a-token-for-tests"
CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)


def prediction(number: int, *, label: int | None = None, text: str | None = None, **more: Any) -> Prediction:
    """Post `number`: flagged with one label just above its threshold, or with none."""
    labels = () if label is None else (LABELS[label],)
    text = f"Запись {number}: говорят о разном. Второе предложение." if text is None else text
    probabilities = dict.fromkeys(LABELS, 0.01) | {i: min(0.99, THRESHOLDS[i] + 0.01 * (number % 50 + 1)) for i in labels}
    post = Post(
        text=text,
        id=str(number),
        channel=more.pop("channel", f"канал {number % 3}"),
        published_at=START + timedelta(hours=number),
        url=more.pop("url", f"https://example.org/{number}"),
        views=more.pop("views", 1000 - number),
        forwards=number,
    )
    end = text.find(".") + 1 or len(text)
    return Prediction(
        post=post,
        labels=labels,
        probabilities=probabilities,
        stance="endorses" if labels else None,
        stance_probabilities={"endorses": 0.7, "reports": 0.2, "refutes": 0.1},
        evidence=tuple(Evidence(i, 0, end, 0.9) for i in labels),
        language="ru" if number % 2 else "kk",
        model="test",
        **more,
    )


def small() -> list[Prediction]:
    """30 posts: 20 flagged (two for each label; three of them copies of one text, one of them hostile), 10 not."""
    posts = [prediction(n, label=n % 10) for n in range(20)] + [prediction(n) for n in range(20, 30)]
    for row, channel, views in ((0, "второй", 50), (10, "третий", 500), (11, "первый", None)):
        posts[row] = prediction(row, label=0, text=COPIED, channel=channel, views=views)
    posts[5] = prediction(5, label=5, text=HOSTILE, channel="<b>жирный</b>\u202e", url="javascript:alert(1)")
    return posts


def write(path: Path, rows: list[Prediction], *, manifest: bool = True) -> Path:
    writer = ParquetWriter(path, LABELS)
    if rows:
        writer.write(to_batch(rows, LABELS))
    writer.close()
    if manifest:
        path.with_name(f"{path.stem}.manifest.json").write_text(json.dumps({"thresholds": THRESHOLDS}), encoding="utf-8")
    return path


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return write(tmp_path / "out.parquet", small())


@pytest.fixture
def scored(output: Path) -> OpenedOutput:
    return open_output(output)


def item(row: int, predicted: tuple[str, ...] = (LABELS[0],), cluster: int | None = None, text: str = "") -> Item:
    stance = "endorses" if predicted else None
    return Item(row, str(row), text or f"text {row}", "ru", "канал", None, None, predicted, stance, row if cluster is None else cluster)


def choice(*labels: str, **more: Any) -> Choice:
    verdict = more.pop("verdict", "accept" if labels else "reject")
    return Choice(verdict, labels, more.pop("stance", "endorses" if labels else None), **more)


@dataclass(frozen=True)
class Served:
    host: str
    port: int
    index: Any

    @property
    def link(self) -> str:
        return f"http://{self.host}:{self.port}/?token={TOKEN}"


@contextmanager
def serving(path: Path, *, reviewer: str = "Айгерім", decisions: Path | None = None) -> Iterator[Served]:
    """The page's own server in a thread, on a free port."""
    from narratives.review.app import create_app
    from narratives.review.guard import Sessions

    with socket.socket() as listening, opened(path, decisions=decisions) as index:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        index.start()
        assert index.clusters_ready.wait(20)
        server = uvicorn_server(create_app(index, Sessions(TOKEN, reviewer)))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield Served("127.0.0.1", listening.getsockname()[1], index)
        finally:
            server.should_exit = True
            thread.join(timeout=10)


@pytest.fixture
def served(output: Path) -> Iterator[Served]:
    with serving(output) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's chromium; what needs it is skipped where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
                  "--no-first-run"],
        )  # fmt: skip
        yield running
        running.close()
