"""A scoring job killed at random moments: the resumed output must equal the undisturbed one's, byte for byte.

    python benchmarks/faults.py dump.jsonl --moments 20 --model models/mine

runs the job undisturbed once; then, for each moment, starts it anew, ends it after a random share of the undisturbed run's time in one of
four ways (SIGKILL, SIGTERM, Ctrl-C, out of memory: its address space is limited to what it has, so that the next allocation fails), runs
the same command again to its end, and compares rows, rejected records and counts. At last one job is ended again and again until it is
done. Any difference ends the script with code 1. Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCRIPT = """
import signal, sys
from narratives import job
from narratives.scorer import Scorer
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore Ctrl-C, and their children inherit that
job.PART_POSTS = int(sys.argv[4])
job.run(sys.argv[1], sys.argv[2], Scorer.from_pretrained(sys.argv[3]))
"""
WAYS = ["SIGKILL", "SIGTERM", "SIGINT", "out of memory"]


class Job:
    def __init__(self, dump: Path, model: Path, part_posts: int) -> None:
        self._arguments = [sys.executable, "-c", SCRIPT, str(dump)]
        self._rest = [str(model), str(part_posts)]

    def start(self, output: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*self._arguments, str(output), *self._rest], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def finish(self, output: Path) -> None:
        if code := self.start(output).wait():
            raise SystemExit(f"the job that was to go on ended with {code}")


def end(process: subprocess.Popen[bytes], way: str) -> None:
    if way != "out of memory":
        process.send_signal(getattr(signal, way))
    else:
        used = int(Path(f"/proc/{process.pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.prlimit(process.pid, resource.RLIMIT_AS, (used, used))
    try:
        process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        # Python waits for ever for a thread that found no memory to start; whoever waits with it kills the process.
        process.kill()
        process.wait()
        if way != "out of memory":
            raise SystemExit(f"a job hung after {way}") from None


def what(output: Path) -> tuple[bytes, bytes, dict[str, object]]:
    stem = output.with_suffix("")
    counts = json.loads(stem.with_suffix(".manifest.json").read_text("utf-8"))["counts"]
    return output.read_bytes(), stem.with_suffix(".rejected.jsonl").read_bytes(), counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dump", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--part-posts", type=int, default=200, help="small parts, so that there are many places to be killed at")
    parser.add_argument("--seed", type=int, default=13)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    job = Job(options.dump, options.model, options.part_posts)
    with tempfile.TemporaryDirectory() as folder:
        clock = time.monotonic()
        job.finish(Path(folder, "whole.parquet"))
        whole = what(Path(folder, "whole.parquet"))
        seconds = time.monotonic() - clock
        print(f"undisturbed: {seconds:.1f} s, {whole[2]['n_posts']} posts")
        print("| moment | way | parts finished | resumed equals undisturbed |\n|---|---|---|---|", flush=True)
        n_bad = n_ended = 0
        for moment in range(options.moments):
            output = Path(folder, f"cut{moment}.parquet")
            way, share = WAYS[moment % len(WAYS)], draw.random()
            process = job.start(output)
            time.sleep(share * seconds)
            was_running = process.poll() is None
            if was_running:
                end(process, way)
            n_ended += was_running
            n_parts = len(list(output.with_name(f"{output.name}.parts").glob("part-*.json")))
            job.finish(output)
            good = what(output) == whole
            n_bad += not good
            print(
                f"| {share:.0%} of the time | {way if was_running else 'had ended'} | {n_parts} | {'yes' if good else 'NO'} |", flush=True
            )
        output = Path(folder, "again.parquet")
        n_times = 0
        while not output.with_suffix(".manifest.json").exists():
            process = job.start(output)
            time.sleep(draw.uniform(0.3, 0.8) * seconds)
            if process.poll() is None:
                end(process, draw.choice(WAYS))
                n_times += 1
        n_bad += what(output) != whole
        print(f"ended {n_times} times before it was done: {'equal' if what(output) == whole else 'DIFFERENT'}")
        print(f"{n_ended} of {options.moments} were ended while at work; {n_bad} differ")
        raise SystemExit(bool(n_bad))


if __name__ == "__main__":
    main()
