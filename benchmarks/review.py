"""The review page with half a million posts: how fast it opens, pages, searches and writes.

    python benchmarks/review.py                         # makes the rows, opens the page's server in a process of its own, asks it
    python benchmarks/review.py --rows 20000 --keep DIR # fewer rows; keep the file for a look in a browser

The rows are posts of `data/posts` with a few words changed, in 400 invented channels over two years, in the columns that
`narratives score` writes: about 4% flagged, a fifth of those copied by other channels, 80% screened (without probabilities).
Times are of whole HTTP answers on this machine, client and server sharing its cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from narratives import taxonomy
from narratives.records import Evidence, Post, Prediction

ROOT = Path(__file__).parent.parent
LABELS = taxonomy.load("kazakhstan").ids
THRESHOLD = 0.5
REVIEWER = "benchmark"


def predictions(n_rows: int, seed: int = 0) -> Iterator[Prediction]:
    """Scored posts, the same for the same seed; one at a time, so that memory does not grow with `n_rows`."""
    draw = random.Random(seed)
    corpus = [json.loads(line) for path in sorted((ROOT / "data" / "posts").glob("*.jsonl")) for line in path.open(encoding="utf-8")]
    ordinary = [row for row in corpus if not row["labels"]]
    telling = [row for row in corpus if row["labels"]]
    words = sorted({word for row in corpus for word in row["text"].split() if word.isalpha()})
    start = datetime(2024, 1, 1, tzinfo=UTC)
    copies: list[dict[str, object]] = []
    for number in range(n_rows):
        flagged = draw.random() < 0.04
        if flagged and copies and draw.random() < 0.2:
            source = draw.choice(copies)
        else:
            row = draw.choice(telling if flagged else ordinary)
            text = f"{row['text']} {' '.join(draw.choices(words, k=draw.randint(2, 40)))}."
            source = {**row, "text": text}
            if flagged:
                copies = [*copies[-200:], source]
        text, labels = str(source["text"]), list(source["labels"]) if flagged else []  # type: ignore[call-overload]
        screened = not flagged and draw.random() < 0.83
        probabilities = {} if screened else {i: draw.betavariate(1, 30) for i in LABELS}
        stances = {}
        if not screened:
            for label in labels:
                probabilities[label] = draw.uniform(THRESHOLD, 1)
            stances = dict.fromkeys(("endorses", "reports", "refutes"), 0.1) | {str(source["stance"] or "endorses"): 0.8}
        channel = draw.randrange(400)
        views = None if draw.random() < 0.1 else int(draw.lognormvariate(7, 2))
        post = Post(
            text=text,
            id=f"{channel}/{number}",
            channel=f"channel_{channel}",
            published_at=start + timedelta(seconds=draw.randrange(2 * 365 * 86_400)),
            url=f"https://example.org/channel_{channel}/{number}",
            views=views,
            forwards=None if views is None else views // draw.randint(20, 400),
            forwarded_from=f"channel_{draw.randrange(400)}" if draw.random() < 0.15 else None,
        )
        end = text.find(".") + 1 or len(text)
        yield Prediction(
            post=post,
            labels=tuple(labels),
            probabilities=probabilities,
            stance=source["stance"] if flagged else None,  # type: ignore[arg-type]
            stance_probabilities=stances,
            evidence=tuple(Evidence(label, 0, end, 0.7) for label in labels),
            language=str(source["lang"]),
            screened=screened,
            model="benchmark",
        )


def write_rows(path: Path, n_rows: int) -> None:
    """Write the rows and the manifest that stands beside them."""
    from narratives.writers.parquet import ParquetWriter
    from narratives.writers.table import to_batch

    writer = ParquetWriter(path, LABELS)
    pending: list[Prediction] = []
    for prediction in predictions(n_rows):
        pending.append(prediction)
        if len(pending) == 4096:
            writer.write(to_batch(pending, LABELS))
            pending = []
    if pending:
        writer.write(to_batch(pending, LABELS))
    writer.close()
    manifest = {"format": 1, "thresholds": dict.fromkeys(LABELS, THRESHOLD)}
    path.with_name(f"{path.stem}.manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


class Page:
    """What a browser does with the server: the link, its cookie, and then one request after another."""

    def __init__(self, path: Path) -> None:
        self.started = time.monotonic()
        command = [sys.executable, "-u", "-c", "from narratives.cli import main; main()", "review", str(path), "--reviewer", REVIEWER]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self.process.stdout is not None
        link = urllib.parse.urlsplit(self.process.stdout.readline().split()[-1])
        self._base = f"{link.scheme}://{link.netloc}"
        self._browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        self._browser.open(f"{self._base}/?{link.query}").read()
        self._csrf = self.get("/api/session")["csrf"]

    def get(self, path: str) -> dict[str, object]:
        with self._browser.open(self._base + path) as answer:
            return json.load(answer)  # type: ignore[no-any-return]

    def post(self, path: str, body: dict[str, object]) -> dict[str, object]:
        headers = {"origin": self._base, "content-type": "application/json", "x-csrf-token": self._csrf}
        request = urllib.request.Request(self._base + path, json.dumps({**body, "as": REVIEWER}).encode(), headers)
        with self._browser.open(request) as answer:
            return json.load(answer)  # type: ignore[no-any-return]

    def cpu_s(self) -> float:
        """Seconds of processor the server has used so far (Linux): says what a busy machine's clock does not."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> tuple[float, float]:
        """Most memory the server ever had resident, and of it what is not pages of files (Linux)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        found = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        return tuple(int(found[name].split()[0]) / 1024 for name in ("VmHWM", "RssAnon"))  # type: ignore[return-value]


def timed(page: Page, name: str, ask: Callable[[int], object], times: int = 12) -> None:
    seconds = []
    used = page.cpu_s()
    for number in range(times):
        began = time.monotonic()
        ask(number)
        seconds.append(time.monotonic() - began)
    spread = f"best {1000 * min(seconds):5.0f} ms, median {1000 * statistics.median(seconds):5.0f}, worst {1000 * max(seconds):5.0f}"
    print(f"{name:<56} {spread}; processor {1000 * (page.cpu_s() - used) / times:5.0f} ms", flush=True)


def wait_for(page: Page, name: str) -> float:
    began = time.monotonic()
    while not page.get("/api/session")[name]:
        time.sleep(0.3)
    return time.monotonic() - began


def measure(path: Path) -> None:
    """Open the page on the file and ask it what a reviewer asks."""
    page = Page(path)
    try:
        first = page.get("/api/queue")
        row = first["lines"][0]["row"]  # type: ignore[index]
        page.get(f"/api/post/{row}")
        opened = time.monotonic() - page.started
        print(f"from the command to the first post, with its list and counts: {opened:.2f} s, processor {page.cpu_s():.2f} s")
        print(f"reposts found after {opened + wait_for(page, 'clusters_ready'):.1f} s, in the background")
        print(f"texts ready for search after {opened + wait_for(page, 'texts_ready'):.1f} s, in the background")
        page.get("/api/queue")
        draw = random.Random(1)
        queue = page.get("/api/queue?status=any")
        everything = page.get("/api/queue?label=&status=any&sort=newest")

        def next_page(of: dict[str, object]) -> Callable[[int], object]:
            return lambda _: page.get(f"/api/queue/{of['queue']}?offset={draw.randrange(int(str(of['total'])) - 60)}")

        labels = [f"label={label}" for label in LABELS]
        timed(page, "a post", lambda _: page.get(f"/api/post/{draw.randrange(int(str(everything['total'])))}"))
        timed(page, "next fifty of the flagged, anywhere in the list", next_page(queue))
        timed(page, "next fifty of all posts by time, anywhere in the list", next_page(everything))
        timed(
            page, "a filter on a label: list and counts", lambda n: page.get(f"/api/queue?{labels[n % len(labels)]}&status=any&sort=seen")
        )
        timed(page, "a filter on a channel", lambda n: page.get(f"/api/queue?label=&status=any&channel=channel_{n}"))
        timed(
            page, "all posts in a new order", lambda n: page.get(f"/api/queue?label=&status=any&sort={('newest', 'seen', 'random')[n % 3]}")
        )
        words = ["нато", "база", "лаборатория", "граница", "билік", "қазақ", "школа", "посол", "санкции", "язык", "армия", "контракт"]
        timed(page, "a new search in all texts", lambda n: page.get(f"/api/queue?label=&status=any&search={urllib.parse.quote(words[n])}"))

        def decide(number: int) -> None:
            line = queue["lines"][number]  # type: ignore[index]
            body = {"row": line["row"], "seen": 0, "verdict": "accept", "labels": line["labels"], "stance": line["stance"], "note": ""}
            page.post("/api/decide", body)

        timed(page, "a decision, written to disk", decide)
        several = page.get("/api/queue")
        body = {"queue": several["queue"], "verdict": "accept"}
        began = time.monotonic()
        n_posts = page.post("/api/bulk/preview", body)["n_posts"]
        previewed = time.monotonic()
        page.post("/api/bulk", {**body, "n_posts": n_posts})
        took = time.monotonic() - previewed
        print(f"everything flagged decided at once: {n_posts:,} posts, preview {previewed - began:.2f} s, deciding {took:.1f} s")
        timed(page, "a page of the list after that", next_page(page.get("/api/queue?status=any")))
        began = time.monotonic()
        page.post("/api/undo", {})
        print(f"and undone: {time.monotonic() - began:.1f} s")
        most, own = page.memory_mb()
        print(f"memory of the server: {most:.0f} MB at most, {own:.0f} MB now without pages of files")
    finally:
        page.process.terminate()
        page.process.wait(timeout=30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--keep", type=Path, help="folder to keep the rows in, and to take them from the next time")
    chosen = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.keep or Path(scratch)
        path = folder / f"rows-{chosen.rows}.parquet"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_rows(path, chosen.rows)
        for old in folder.glob(f"{path.stem}.decisions.sqlite*"):
            old.unlink()
        print(f"{chosen.rows:,} posts, {path.stat().st_size / 2**20:.0f} MB")
        measure(path)


if __name__ == "__main__":
    main()
