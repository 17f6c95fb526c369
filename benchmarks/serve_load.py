"""How `narratives serve` answers a crowd: clients that each send one post, wait for the answer, and send the next.

    narratives serve --requests-per-second 0 &
    python benchmarks/serve_load.py http://127.0.0.1:8765 --clients 1 4 16 64 --requests 400

Posts are those of data/posts, shuffled by a fixed seed. p50 and p99 are from request to answer as the client sees them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from pathlib import Path

import httpx
import numpy as np

ROOT = Path(__file__).parent.parent


def texts() -> list[str]:
    found = [json.loads(line)["text"] for file in sorted((ROOT / "data" / "posts").glob("*.jsonl")) for line in file.open(encoding="utf-8")]
    random.Random(13).shuffle(found)
    return found


async def crowd(base: str, posts: list[str], clients: int, headers: dict[str, str]) -> dict[str, object]:
    """Each of `clients` takes the next post until all are answered."""
    waiting = iter(posts)
    seconds: list[float] = []
    refused = failed = 0

    async def one(client: httpx.AsyncClient) -> None:
        nonlocal refused, failed
        for text in waiting:
            started = time.perf_counter()
            try:
                answer = await client.post("/v1/predict", json={"posts": [{"text": text}]})
            except httpx.TransportError:
                failed += 1
                continue
            if answer.status_code == 200:
                seconds.append(time.perf_counter() - started)
            elif answer.status_code in (429, 503):
                refused += 1
            else:
                failed += 1

    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=base, timeout=120, limits=limits, headers=headers, trust_env=False) as client:
        started = time.perf_counter()
        await asyncio.gather(*(one(client) for _ in range(clients)))
        elapsed = time.perf_counter() - started
    p50, p99 = np.percentile(seconds, [50, 99]) * 1000 if seconds else (float("nan"),) * 2
    return {
        "clients": clients, "answered": len(seconds), "refused": refused, "failed": failed,
        "posts_per_second": round(len(seconds) / elapsed, 1), "p50_ms": round(float(p50), 1), "p99_ms": round(float(p99), 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="the service's address")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--requests", type=int, default=400, help="posts for each number of clients")
    parser.add_argument("--token", help="what the service asks for")
    parser.add_argument("--json", type=Path, help="write the rows there too")
    options = parser.parse_args()
    headers = {"authorization": f"Bearer {options.token}"} if options.token else {}
    posts = texts()
    rows = []
    print("| clients | posts/s | p50, ms | p99, ms | refused | failed |\n|---|---|---|---|---|---|")
    for i, clients in enumerate(options.clients):
        # Other posts each time: a repeated text would be answered no faster, but its kernels would be warm.
        chosen = [posts[(i * options.requests + j) % len(posts)] for j in range(options.requests)]
        row = asyncio.run(crowd(options.base, chosen, clients, headers))
        rows.append(row)
        print("| " + " | ".join(str(row[k]) for k in ("clients", "posts_per_second", "p50_ms", "p99_ms", "refused", "failed")) + " |")
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
