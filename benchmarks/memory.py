"""Peak memory of `narratives score` against the size of the dump: it must not grow.

    python benchmarks/memory.py posts.jsonl --posts 200000 2000000 --kinds result.json jsonl.gz jsonl.zst csv parquet

makes dumps by repeating the real posts of `posts.jsonl` with ids of their own, scores each in a process of its own (screen on, as users
run it), and prints a table: posts, size of the dump, seconds on the clock and of CPU, peak resident memory of the process, and how much
higher it is than for the smallest dump of its kind; and the line that fits the CPU seconds. Posts that are the same are scored once only
within a part of 4,096, so repetition saves nothing across the dump. `--model` takes another bundle: a linear one shows the memory of
everything but the encoder in a tenth of the time. `--only-read` does not score: it shows what a kind's reader adds, in minutes.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from narratives import Post
from narratives.readers import read_posts

# The kernel's own count of the process, told at its end: what `wait4` gives begins with the peak of whoever started it.
PEAK = (
    "import atexit, re, sys; from pathlib import Path; "
    "atexit.register(lambda: print('peak', re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1])); "
)
SCORE = PEAK + "from narratives.cli import main; main()"
READ = PEAK + "from narratives.readers import read_posts; print('posts', sum(1 for _ in read_posts(sys.argv[1])))"


@dataclass(frozen=True)
class Row:
    kind: str
    n_posts: int
    dump_bytes: int
    seconds: float
    cpu_seconds: float
    """Of all the process's threads: what the work costs, whatever else the machine does."""
    peak_bytes: int


def repeated(posts: list[Post], n: int) -> Iterator[tuple[str, Post]]:
    for number, post in zip(range(n), itertools.cycle(posts), strict=False):
        yield str(number), post


def make(kind: str, posts: list[Post], n: int, path: Path) -> None:
    rows = repeated(posts, n)
    if kind == "result.json":
        with path.open("w", encoding="utf-8") as stream:
            stream.write('{\n "name": "Арна",\n "type": "public_channel",\n "id": 7,\n "messages": [\n')
            for number, (name, post) in enumerate(rows):
                entities = [{"type": "plain", "text": post.text}]  # as Telegram Desktop writes it: every text twice
                message = {"id": int(name), "type": "message", "date": "2023-10-06T12:12:31", "date_unixtime": "1696583551"}
                body = json.dumps({**message, "text": post.text, "text_entities": entities}, ensure_ascii=False, indent=1)
                stream.write(("," if number else "") + "\n" + "\n".join("  " + line for line in body.split("\n")))
            stream.write("\n ]\n}\n")
    elif kind == "jsonl.gz":
        with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as packed:
            _lines(packed, rows)
    elif kind == "jsonl.zst":
        compressor = zstandard.ZstdCompressor(1)
        with path.open("wb") as raw, compressor.stream_writer(raw) as packed_, io.TextIOWrapper(packed_, encoding="utf-8") as text:
            _lines(text, rows)
    elif kind == "csv":
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["id", "text", "channel"])
            writer.writerows([name, post.text, post.channel] for name, post in rows)
    else:
        schema = pa.schema([("id", pa.string()), ("text", pa.string()), ("channel", pa.string())])
        with pq.ParquetWriter(path, schema, compression="zstd") as file:
            while block := list(itertools.islice(rows, 50_000)):
                file.write_table(
                    pa.table([[n for n, _ in block], [p.text for _, p in block], [p.channel for _, p in block]], schema=schema)
                )


def _lines(stream: TextIO, rows: Iterator[tuple[str, Post]]) -> None:
    for name, post in rows:
        stream.write(json.dumps({"id": name, "text": post.text, "channel": post.channel}, ensure_ascii=False) + "\n")


def run(kind: str, n: int, dump: Path, output: Path, options: list[str], *, only_read: bool) -> Row:
    clock = time.monotonic()
    command = [READ, str(dump)] if only_read else [SCORE, "score", str(dump), "-o", str(output), *options]
    process = subprocess.Popen([sys.executable, "-c", *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    told = dict(line.split() for line in process.stdout if line.startswith(("peak ", "posts ")))
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"scoring {dump} ended with {os.waitstatus_to_exitcode(status)}")
    manifest = output.with_name(f"{output.stem}.manifest.json")
    n_found = int(told["posts"]) if only_read else json.loads(manifest.read_text("utf-8"))["counts"]["n_posts"]
    if n_found != n:
        raise SystemExit(f"{dump}: {n_found} posts were found, expected {n}")
    return Row(kind, n, dump.stat().st_size, time.monotonic() - clock, used.ru_utime + used.ru_stime, int(told["peak"]) * 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("posts_from", type=Path)
    parser.add_argument("--posts", type=int, nargs="+", default=[200_000, 2_000_000])
    kinds = ["result.json", "jsonl.gz", "jsonl.zst", "csv", "parquet"]
    parser.add_argument("--kinds", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--model")
    parser.add_argument("--only-read", action="store_true")
    parser.add_argument("--output", choices=["parquet", "jsonl", "csv"], default="parquet")
    parser.add_argument("--folder", type=Path, help="where dumps are made; without it a temporary one")
    options = parser.parse_args()
    posts = [item for item in read_posts(options.posts_from) if isinstance(item, Post)]
    print("| dump | posts | MB | seconds | CPU seconds | peak MB | against the smallest |\n|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for kind in options.kinds:
            rows: list[Row] = []
            for n in sorted(options.posts):
                dump = Path(folder, kind if kind == "result.json" else f"posts.{kind}")
                make(kind, posts, n, dump)
                settings = ["--model", options.model] if options.model else []
                row = run(kind, n, dump, Path(folder, f"out.{options.output}"), settings, only_read=options.only_read)
                rows.append(row)
                print(
                    f"| {kind} | {n:,} | {row.dump_bytes / 1e6:,.0f} | {row.seconds:.0f} | {row.cpu_seconds:.1f} "
                    f"| {row.peak_bytes / 1e6:,.0f} | {row.peak_bytes / rows[0].peak_bytes - 1:+.1%} |",
                    flush=True,
                )
                for path in Path(folder).iterdir():
                    path.unlink()
            if len(rows) > 1:
                slope, start = np.polyfit([r.n_posts for r in rows], [r.cpu_seconds for r in rows], 1)
                print(f"{kind}: CPU seconds = {start:.1f} + {1000 * slope:.3f} ms x posts", flush=True)


if __name__ == "__main__":
    main()
