"""The Ray engine on a real cluster of three nodes (each with its own raylet and object store): the local engine's rows, whatever dies."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from narratives import job
from narratives.bundle import ModelBundle
from narratives.config import ScoreConfig
from narratives.errors import ConfigError, InputError, JobError, RecordError, UnknownName
from narratives.parts import Part, PartId, cut
from narratives.records import Post, Prediction
from narratives.scorer import Scorer
from narratives.storage import Location
from tests.conftest import ROOT
from tests.test_job import WORDS, dump

pytest.importorskip("ray")

from narratives import distributed
from narratives.distributed import RayEngine


@pytest.fixture(scope="module")
def scorer(linear_bundle: ModelBundle) -> Scorer:
    return Scorer.from_bundle(linear_bundle)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "PART_POSTS", 100)


# Nodes are processes of this machine: they find this checkout as the tests do, and a busy machine does not count as a dead node.
ENVIRONMENT = {
    "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    "RAY_health_check_failure_threshold": "10",
    "RAY_worker_niceness": "0",  # Ray makes workers the last in the queue for the CPU; what else runs would starve them
    "RAY_USAGE_STATS_ENABLED": "0",
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head with room for one model, and two nodes with room for one each."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 2**27, "include_dashboard": False})
        try:
            for _ in range(2):
                made.add_node(num_cpus=1, object_store_memory=2**27)
            made.wait_for_nodes()
            yield made
        finally:
            made.shutdown()


def folder_of_dumps(folder: Path) -> Path:
    """Three formats, one of them compressed, with broken records, posts without an id, and a file that is no dump."""
    folder.mkdir()
    dump(folder / "a.jsonl", 450)
    with gzip.open(folder / "b.csv.gz", "wt", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "date", "views"])
        writer.writerows([f"{WORDS[i % 4]} {i}.", "2023-10-06T09:12:31+05:00", "1.2K" if i % 7 else "много"] for i in range(250))
    pq.write_table(
        pa.table({"id": [f"p{i}" for i in range(130)], "text": [f"{WORDS[i % 4]} {i}!" for i in range(130)]}), folder / "c.parquet"
    )
    (folder / "readme.md").write_text("not a dump")
    return folder


def same(folder: Path, one: str, other: str) -> None:
    """Rows, rejected records and, but for what tells of the run, the manifest."""
    for name in ("parquet", "rejected.jsonl"):
        assert (folder / f"{one}.{name}").read_bytes() == (folder / f"{other}.{name}").read_bytes(), name
    manifests = [json.loads((folder / f"{name}.manifest.json").read_text("utf-8")) for name in (one, other)]
    engines = [m.pop("run")["engine"] for m in manifests]
    for m, name in zip(manifests, (one, other), strict=True):
        assert m["output"].pop("name") == f"{name}.parquet"
        assert m["output"].pop("rejected") == f"{name}.rejected.jsonl"
    assert manifests[0] == manifests[1]
    assert engines == ["local", "ray"]


def test_ray_gives_the_rows_and_the_manifest_of_the_local_engine(tmp_path: Path, scorer: Scorer, cluster: Any) -> None:
    source = folder_of_dumps(tmp_path / "dumps")
    local = job.run(source, tmp_path / "local.parquet", scorer)
    told: list[int] = []
    ray = job.run(
        source,
        tmp_path / "ray.parquet",
        scorer,
        engine=RayEngine(address=cluster.address),
        on_progress=lambda progress: told.append(progress.counts.n_posts),
    )
    same(tmp_path, "local", "ray")
    assert local.counts == ray.counts
    assert told[-1] == ray.counts.n_posts == 448 + 250 + 130
    assert not (tmp_path / "ray.parquet.parts").exists()
    ids = pq.read_table(tmp_path / "ray.parquet", columns=["id"])["id"].to_pylist()
    assert ids[:2] == ["0", "1"]
    assert "b.csv.gz:row1" in ids, "posts without an id are told apart by their file"
    assert ids[-1] == "p129"
    assert json.loads((tmp_path / "ray.manifest.json").read_text("utf-8"))["run"]["nodes"] == 3


def test_an_interrupted_job_goes_on_under_the_other_engine(tmp_path: Path, scorer: Scorer, cluster: Any) -> None:
    source = dump(tmp_path / "in.jsonl", 800)
    job.run(source, tmp_path / "local.parquet", scorer)

    class Stop(Exception):
        pass

    def stop(progress: job.Progress) -> None:
        if progress.counts.n_posts >= 300:
            raise Stop

    with pytest.raises(Stop):
        job.run(source, tmp_path / "ray.parquet", scorer, on_progress=stop)
    folder = tmp_path / "ray.parquet.parts"
    (folder / "part-00000-000001.json").unlink()  # a hole: not the last part, and yet to be made again
    kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("part-*.json")}
    assert len(kept) == 2
    fresh: list[int] = []
    written: dict[str, int] = {}

    def look(progress: job.Progress) -> None:
        fresh.append(progress.counts.n_posts)
        written.update({path.name: path.stat().st_mtime_ns for path in folder.glob("part-*.json")})

    summary = job.run(source, tmp_path / "ray.parquet", scorer, engine=RayEngine(address=cluster.address), on_progress=look)
    same(tmp_path, "local", "ray")
    assert len(fresh) == 8 - 2, "only what was not there was scored"
    assert {name: written[name] for name in kept} == kept, "Ray Data's checkpoint dropped what was finished"
    assert summary.n_resumed == 200


DRIVER = """
import sys
from narratives import job
from narratives.distributed import RayEngine
from narratives.scorer import Scorer
job.PART_POSTS = 100
job.run(sys.argv[1], sys.argv[2], Scorer.from_pretrained(sys.argv[3]), engine=RayEngine(address=sys.argv[4]))
"""


def test_a_killed_driver_is_resumed_to_the_same_rows(tmp_path: Path, scorer: Scorer, linear_bundle: ModelBundle, cluster: Any) -> None:
    source = dump(tmp_path / "in.jsonl", 12_000)
    job.run(source, tmp_path / "local.parquet", scorer)
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(source), str(tmp_path / "ray.parquet"), str(linear_bundle.path), cluster.address],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    folder = tmp_path / "ray.parquet.parts"
    wait_for_parts(folder, 5, lambda: driver.poll() is None)
    driver.send_signal(signal.SIGKILL)
    driver.wait(timeout=30)
    n_sealed = len(list(folder.glob("part-*.json")))
    assert 5 <= n_sealed < 120, "it was killed too late to be a test"
    summary = job.run(source, tmp_path / "ray.parquet", scorer, engine=RayEngine(address=cluster.address))
    assert summary.n_resumed > 0
    same(tmp_path, "local", "ray")


KILLER = """
import sys, threading, time
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from narratives import job
from narratives.distributed import RayEngine
from narratives.scorer import Scorer

job.PART_POSTS = 100
source, output, model = sys.argv[1:]
parts = Path(output + ".parts")
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 2**27, "include_dashboard": False})
for _ in range(2):
    cluster.add_node(num_cpus=1, object_store_memory=2**27)
cluster.wait_for_nodes()

def kill():
    while not (sealed := len(list(parts.glob("part-*.json")))):
        time.sleep(0.005)
    # The raylet and all its workers, at once and without a word; not the one that the driver hangs on.
    mine = ray.get_runtime_context().get_node_id()
    cluster.remove_node(next(node for node in cluster.worker_nodes if node.node_id != mine), allow_graceful=False)
    print("killed after", sealed, flush=True)

killer = threading.Thread(target=kill, daemon=True)
killer.start()
job.run(source, output, Scorer.from_pretrained(model), engine=RayEngine(address=cluster.address))
killer.join(timeout=60)
cluster.shutdown()
"""


def test_a_node_killed_in_the_middle_loses_nothing(tmp_path: Path, scorer: Scorer, linear_bundle: ModelBundle) -> None:
    """A cluster and a driver of its own: Ray Data's actors for statistics live as long as a cluster, on the node of its first driver."""
    source = dump(tmp_path / "in.jsonl", 4_000)
    job.run(source, tmp_path / "local.parquet", scorer)
    driver = subprocess.run(
        [sys.executable, "-c", KILLER, str(source), str(tmp_path / "ray.parquet"), str(linear_bundle.path)],
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert driver.returncode == 0, driver.stderr
    found = re.search(r"killed after (\d+)", driver.stdout)
    assert found is not None, driver.stdout
    assert 1 <= int(found[1]) < 40, "it was killed too late to be a test"
    same(tmp_path, "local", "ray")


DEADLY = "Этот текст роняет процесс"


def load_deadly(bundle: str, config: dict[str, Any]) -> Scorer:
    """A scorer with a backend that crashes on one text."""
    scorer = distributed._load(bundle, config)
    pipe_chunks = scorer.pipe_chunks

    def deadly(chunks: Iterable[Sequence[Post]]) -> Iterator[list[Prediction]]:
        for chunk in chunks:
            if any(DEADLY in post.text for post in chunk):
                os._exit(3)
            yield from pipe_chunks([chunk])

    scorer.pipe_chunks = deadly  # type: ignore[method-assign]
    return scorer


class DeadlyPartScorer(distributed._PartScorer):
    load = staticmethod(load_deadly)


def test_a_post_that_ends_its_worker_is_rejected_and_the_others_are_scored(
    tmp_path: Path, scorer: Scorer, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "_PartScorer", DeadlyPartScorer)
    lines = dump(tmp_path / "without.jsonl", 450).read_text("utf-8").splitlines()
    job.run(tmp_path / "without.jsonl", tmp_path / "local.parquet", scorer)
    lines.insert(250, json.dumps({"id": "deadly", "text": DEADLY}, ensure_ascii=False))
    (tmp_path / "in.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    summary = job.run(tmp_path / "in.jsonl", tmp_path / "ray.parquet", scorer, engine=RayEngine(address=cluster.address))
    assert pq.read_table(tmp_path / "ray.parquet").equals(pq.read_table(tmp_path / "local.parquet"))
    assert summary.counts.n_records == 451
    rejected = [json.loads(line) for line in (tmp_path / "ray.rejected.jsonl").read_text("utf-8").splitlines()]
    [deadly] = [record for record in rejected if record["line"] == 0]
    assert deadly["path"] == str(tmp_path / "in.jsonl")
    assert deadly["reason"] == "post 'deadly': scoring it ends the process (exit code 3)"
    assert json.loads(deadly["record"])["text"] == DEADLY
    assert len(rejected) == 3 == summary.counts.n_rejected


class DeadlyWork(job.Work):
    def cut(self, number: int) -> Iterator[Part]:
        os._exit(4)


def test_a_file_that_ends_its_readers_is_not_tried_for_ever(
    tmp_path: Path, scorer: Scorer, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "Work", DeadlyWork)
    with pytest.raises(JobError, match=r"in\.jsonl: reading it ended 6 workers; is there enough memory\?"):
        job.run(dump(tmp_path / "in.jsonl", 20), tmp_path / "o.parquet", scorer, engine=RayEngine(address=cluster.address))


def wait_for_parts(folder: Path, n: int, alive: Any) -> None:
    deadline = time.monotonic() + 240
    while len(list(folder.glob("part-*.json"))) < n and alive() and time.monotonic() < deadline:
        time.sleep(0.005)


def test_an_error_on_a_worker_is_the_error_the_local_engine_gives(tmp_path: Path, scorer: Scorer, cluster: Any) -> None:
    (tmp_path / "in.jsonl").write_text('{"words": "да"}\n' * 3)
    for engine in (job.here, RayEngine(address=cluster.address)):
        with pytest.raises(InputError, match=r"in\.jsonl: no text column; found words"):
            job.run(tmp_path / "in.jsonl", tmp_path / "out.parquet", scorer, engine=engine)


def test_a_cluster_without_room_says_what_it_has(tmp_path: Path, scorer: Scorer, cluster: Any) -> None:
    with pytest.raises(JobError, match=r"no node of the Ray cluster has 64 CPUs \(found: 1, 1"):
        job.run(dump(tmp_path / "in.jsonl", 20), tmp_path / "o.parquet", scorer, engine=RayEngine(address=cluster.address, threads=64))


def test_no_cluster_is_a_clear_error(tmp_path: Path, scorer: Scorer) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        expected = f"no Ray cluster at '{address}': .*refused; start one with `ray start --head`, or leave --address out"
        with pytest.raises(JobError, match=expected):
            job.run(dump(tmp_path / "in.jsonl", 20), tmp_path / "o.parquet", scorer, engine=RayEngine(address=address))


def test_a_part_survives_the_way_to_another_process(tmp_path: Path) -> None:
    rows = [
        {
            "id": 1,
            "text": "а\u2028б\x00",
            "date": "2023-10-06T09:12:31.000123+05:00",
            "views": 2**40,
            "labels": ["x", "y"],
            "stance": "reports",
        },
        {"id": 2, "text": "", "labels": [], "views": "много"},
        {"text": "без номера"},
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows) + "{broken\n", "utf-8")
    [part] = cut(Location.of(tmp_path / "in.jsonl"), 3, format="jsonl", text_column=None, part_posts=10)
    assert part.id == PartId(3, 0)
    assert part.is_last
    assert (len(part.posts), len(part.rejected), part.n_records) == (3, 2, 5)
    assert Part.from_json(part.to_json()) == part


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("setting"),
        InputError("a.json", "no posts"),
        RecordError("a.json", 3, "text", "is missing"),
        UnknownName("label", "rian", ["rain"]),
        JobError("disk"),
    ],
)
def test_errors_cross_processes(error: Exception) -> None:
    import pickle

    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_options_of_the_other_engine_are_refused(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from narratives.cli import app

    done = CliRunner().invoke(app, ["score", "x.csv", "-o", str(tmp_path / "o.csv"), "--workers", "2"])
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception) == "--address and --workers are for --engine ray"


def test_screen_and_settings_reach_the_workers(tmp_path: Path, linear_bundle: ModelBundle, cluster: Any) -> None:
    scorer = Scorer.from_bundle(linear_bundle, config=ScoreConfig(evidence=False, labels=("snow",)))
    source = dump(tmp_path / "in.jsonl", 250)
    job.run(source, tmp_path / "local.parquet", scorer)
    job.run(source, tmp_path / "ray.parquet", scorer, engine=RayEngine(address=cluster.address, workers=1))
    same(tmp_path, "local", "ray")
    rows = pq.read_table(tmp_path / "ray.parquet").to_pylist()
    assert {label for row in rows for label in row["labels"]} == {"snow"}
    assert not any(row["evidence"] for row in rows)
