"""How long a post of a live feed waits for its prediction, at 1, 10 and 50 posts a second.

    python benchmarks/latency.py

Posts of data/posts (shuffled by a fixed seed) arrive at random (a Poisson process), go through `narratives.streaming.stream` with its
default settings and the shipped bundle, and are timed from the moment they arrive to the moment their prediction is given out,
evidence included. A rate the machine cannot keep shows as a backlog that grows: then p50 says how long the run was, and no more.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from narratives import Post, ScoreConfig, Scorer
from narratives.streaming import StreamConfig, stream

ROOT = Path(__file__).parent.parent


def corpus() -> list[Post]:
    found = [
        Post(text=json.loads(line)["text"])
        for file in sorted((ROOT / "data" / "posts").glob("*.jsonl"))
        for line in file.open(encoding="utf-8")
    ]
    random.Random(13).shuffle(found)
    return found


def measure(scorer: Scorer, posts: list[Post], rate: float, config: StreamConfig) -> dict[str, float]:
    """Latency of each post at `rate` arrivals a second, in seconds."""
    gaps = np.random.default_rng(13).exponential(1 / rate, len(posts))
    due = np.cumsum(gaps)
    started = time.perf_counter()

    def feed() -> Iterator[Post]:
        for post, at in zip(posts, due, strict=True):
            time.sleep(max(0.0, started + at - time.perf_counter()))
            yield post

    seconds = [time.perf_counter() - started - at for at, _ in zip(due, stream(scorer, feed(), config), strict=True)]
    p50, p99 = np.percentile(seconds, [50, 99])
    late = float(np.mean(seconds[-len(seconds) // 5 :]) / max(1e-9, np.mean(seconds[: len(seconds) // 5])))
    return {"rate": rate, "n_posts": len(posts), "p50_ms": p50 * 1000, "p99_ms": p99 * 1000, "last_fifth_against_first": late}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=float, nargs="+", default=[1, 10, 50])
    parser.add_argument("--seconds", type=float, default=30, help="how long each rate is kept up")
    parser.add_argument("--model", help="a bundle; without it, the shipped one")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--screen", action="store_true", help="let the bundle's screen drop posts that surely carry nothing")
    parser.add_argument("--json", type=Path, help="write the rows there too")
    options = parser.parse_args()
    scorer = Scorer.from_pretrained(options.model, config=ScoreConfig(backend=options.backend, screen=options.screen))
    posts = corpus()
    scorer.predict(posts[:64])  # kernels are planned for each length of batch once
    if hasattr(os, "getloadavg"):
        print(f"{scorer.bundle.model_id}, {scorer.backend.name}; load of the machine before the run: {os.getloadavg()[0]:.1f}")
    print("| posts/s | posts | p50, ms | p99, ms | last fifth / first fifth |\n|---|---|---|---|---|")
    rows = []
    for rate in options.rates:
        n = max(30, int(rate * options.seconds))
        row = measure(scorer, [posts[i % len(posts)] for i in range(n)], rate, StreamConfig())
        rows.append(row)
        cells = (
            f"{row['rate']:g}",
            f"{row['n_posts']}",
            f"{row['p50_ms']:.0f}",
            f"{row['p99_ms']:.0f}",
            f"{row['last_fifth_against_first']:.1f}",
        )
        print("| " + " | ".join(cells) + " |")
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
