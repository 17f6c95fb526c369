"""`narratives serve` as a process on loopback, under the load generator of benchmarks/."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from narratives.bundle import ModelBundle
from tests.conftest import ROOT


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def test_it_serves_a_crowd_and_ends_when_told(linear_bundle: ModelBundle, tmp_path: Path) -> None:
    port = free_port()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    start = "from narratives.cli import main; main()"
    options = ["serve", "--port", str(port), "--model", str(linear_bundle.path), "--requests-per-second", "0"]
    server = subprocess.Popen([sys.executable, "-c", start, *options], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        base = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while True:
            try:
                assert httpx.get(f"{base}/healthz").json()["status"] == "ok"
                break
            except httpx.TransportError:
                assert server.poll() is None, server.communicate()[1]
                assert time.monotonic() < deadline
                time.sleep(0.1)
        load = [
            sys.executable,
            ROOT / "benchmarks" / "serve_load.py",
            base,
            "--clients",
            "8",
            "--requests",
            "80",
            "--json",
            tmp_path / "load.json",
        ]
        subprocess.run(load, check=True, env=environment, stdout=subprocess.DEVNULL)
        [row] = json.loads((tmp_path / "load.json").read_text("utf-8"))["rows"]
        assert (row["clients"], row["answered"], row["refused"], row["failed"]) == (8, 80, 0, 0)
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        metrics = httpx.get(f"{base}/metrics").text
        assert "narratives_posts_total 80.0" in metrics
    finally:
        server.send_signal(signal.SIGINT)
        _, told = server.communicate(timeout=30)
    assert f"on http://127.0.0.1:{port}" in told
    assert "Traceback" not in told


def test_another_address_needs_a_token(linear_bundle: ModelBundle) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("NARRATIVES_TOKEN", None)
    command = [sys.executable, "-c", "from narratives.cli import main; main()", "serve", "--host", "0.0.0.0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("narratives: host 0.0.0.0 can be reached from other machines, and there is no token.")
