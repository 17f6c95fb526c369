"""Dumps and outputs on object storage: an S3 and a Google server of this machine, asked through pyarrow as any others would be."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from narratives import job, lock, storage
from narratives.bundle import ModelBundle
from narratives.config import ScoreConfig
from narratives.errors import InputError, JobError
from narratives.scorer import Scorer
from narratives.storage import Location
from tests.conftest import ROOT
from tests.test_job import dump


@pytest.fixture(scope="module", params=["s3", "gs"])
def service(request: pytest.FixtureRequest) -> Iterator[tuple[str, str, str]]:
    """A bucket, the environment variable that names its server, and the options of an address that do."""
    with contextlib.contextmanager({"s3": _s3, "gs": _google}[request.param])() as found:
        storage._filesystem.cache_clear()
        yield found
        storage._filesystem.cache_clear()


@pytest.fixture
def bucket(service: tuple[str, str, str]) -> str:
    return service[0]


GOOGLE = """
import sys
from gcp_storage_emulator.server import create_server
server = create_server("127.0.0.1", 0, in_memory=True, default_bucket="dumps")
server.start()
print(server._api._httpd.server_port, flush=True)
sys.stdin.read()
server.stop()
"""


def _google() -> Iterator[tuple[str, str, str]]:
    pytest.importorskip("gcp_storage_emulator")
    # A process of its own: Google's client keeps Python's lock while it waits for some answers.
    server = subprocess.Popen([sys.executable, "-c", GOOGLE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert server.stdout is not None
    address = f"127.0.0.1:{int(server.stdout.readline())}"
    variable = "CLOUD_STORAGE_EMULATOR_ENDPOINT"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(variable, f"http://{address}")
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield "gs://anonymous@dumps", variable, f"?endpoint_override={address}&scheme=http&retry_limit_seconds=5"
    server.communicate()


def _s3() -> Iterator[tuple[str, str, str]]:
    pytest.importorskip("moto")
    pytest.importorskip("flask")
    from moto.server import ThreadedMotoServer
    from pyarrow import fs

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "of-no-use-elsewhere")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "of-no-use-elsewhere")
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("NO_PROXY", "127.0.0.1")
        maker = fs.S3FileSystem(allow_bucket_creation=True, endpoint_override=f"{host}:{port}", scheme="http", region="us-east-1")
        maker.create_dir("dumps")
        yield "s3://dumps", "AWS_ENDPOINT_URL", f"?endpoint_override={host}:{port}&scheme=http&region=us-east-1"
        server.stop()


@pytest.fixture(scope="module")
def scorer(linear_bundle: ModelBundle) -> Scorer:
    return Scorer.from_bundle(linear_bundle)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "PART_POSTS", 50)


def sent(folder: Path, to: str) -> str:
    """Two dumps, in a local folder and in a remote one."""
    folder.mkdir()
    for name, n in (("a.jsonl", 220), ("b.jsonl", 130)):
        (Location.of(to) / name).write(dump(folder / name, n).read_bytes())
    return to


def same(local: Path, remote: str) -> None:
    """Rows, rejected records but for their paths, and the manifest but for what tells of the run."""
    theirs = job.Outputs.of(remote)
    assert theirs.output.read() == local.read_bytes()
    ours = job.Outputs.of(local)
    rejected = [[json.loads(line) for line in o.rejected.read().splitlines()] for o in (ours, theirs)]
    names = [[(Path(r.pop("path")).name, r) for r in records] for records in rejected]
    assert names[0] == names[1]
    manifests = [json.loads(o.manifest.read()) for o in (ours, theirs)]
    for manifest in manifests:
        manifest.pop("run")
        manifest["output"].pop("name")
        manifest["output"].pop("rejected")
    assert manifests[0] == manifests[1]
    assert theirs.parts.names() == []
    assert not theirs.parts.is_folder()


class Stop(Exception):
    pass


def interrupted(source: str, output: str, scorer: Scorer, after: int = 3) -> None:
    n_parts = 0

    def stop(_progress: object) -> None:
        nonlocal n_parts
        n_parts += 1
        if n_parts == after:
            raise Stop

    with pytest.raises(Stop):
        job.run(source, output, scorer, on_progress=stop)


def test_a_remote_folder_gives_the_rows_of_a_local_one(tmp_path: Path, scorer: Scorer, bucket: str) -> None:
    source = sent(tmp_path / "in", f"{bucket}/plain/in")
    job.run(tmp_path / "in", tmp_path / "out.parquet", scorer)
    summary = job.run(source, f"{bucket}/plain/out.parquet", scorer)
    same(tmp_path / "out.parquet", f"{bucket}/plain/out.parquet")
    assert summary.counts.n_rejected == 4
    assert job.run(source, f"{bucket}/plain/out.parquet", scorer).already_done
    job.run(f"{source}/a.jsonl", f"{bucket}/top.csv", scorer)
    job.run(tmp_path / "in" / "a.jsonl", tmp_path / "top.csv", scorer)
    assert Location.of(f"{bucket}/top.csv").read() == (tmp_path / "top.csv").read_bytes()


def test_the_command_line_takes_addresses(
    tmp_path: Path, linear_bundle: ModelBundle, scorer: Scorer, service: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from narratives.cli import app

    bucket, variable, options = service
    source = sent(tmp_path / "in", f"{bucket}/cli/in")
    # The service may stand in the address itself, instead of the environment.
    monkeypatch.delenv(variable)
    done = CliRunner().invoke(
        app, ["score", source + options, "-o", f"{bucket}/cli/out.parquet{options}", "--model", str(linear_bundle.path)]
    )
    assert done.exit_code == 0, done.output
    job.run(tmp_path / "in", tmp_path / "out.parquet", scorer)
    assert Location.of(f"{bucket}/cli/out.parquet{options}").read() == (tmp_path / "out.parquet").read_bytes()


def test_an_interrupted_remote_job_goes_on(tmp_path: Path, scorer: Scorer, bucket: str) -> None:
    source = sent(tmp_path / "in", f"{bucket}/resume/in")
    job.run(tmp_path / "in", tmp_path / "out.parquet", scorer)
    interrupted(source, f"{bucket}/resume/out.parquet", scorer)
    summary = job.run(source, f"{bucket}/resume/out.parquet", scorer)
    assert summary.n_resumed == 150
    same(tmp_path / "out.parquet", f"{bucket}/resume/out.parquet")


def test_another_jobs_parts_and_output_are_refused(tmp_path: Path, linear_bundle: ModelBundle, scorer: Scorer, bucket: str) -> None:
    source, output = sent(tmp_path / "in", f"{bucket}/foreign/in"), f"{bucket}/foreign/out.parquet"
    other = Scorer.from_bundle(linear_bundle, config=ScoreConfig(evidence=False))
    interrupted(source, output, scorer)
    with pytest.raises(JobError, match=r"foreign/out\.parquet\.parts: holds parts of another job \(different: evidence\)"):
        job.run(source, output, other)
    job.run(source, output, scorer)
    with pytest.raises(JobError, match=r"foreign/out\.parquet: exists and is not the output of this job"):
        job.run(source, output, other)


def test_two_processes_do_not_write_one_remote_output(tmp_path: Path, scorer: Scorer, bucket: str) -> None:
    source, output = sent(tmp_path / "in", f"{bucket}/locked/in"), f"{bucket}/locked/out.parquet"
    outputs = job.Outputs.of(output)
    with (
        lock.hold(outputs.parts, outputs.output),
        pytest.raises(JobError, match=rf"out\.parquet: another process is writing it \(on .+, process {os.getpid()}, \d+ s ago\)"),
    ):
        job.run(source, output, scorer)
    job.run(source, output, scorer)
    assert not outputs.parts.is_folder()


OWNER = """
import os, sys
from narratives import lock
from narratives.storage import Location
folder = Location.of(sys.argv[1])
with lock.hold(folder, folder):
    print("held", flush=True)
    if sys.argv[2] == "dies":
        os._exit(1)
    sys.stdin.read()
"""


def owner(folder: Location, what: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder), what], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_remote_output_is_free_when_its_process_is_dead(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Location.of(f"{bucket}/dead/out.parquet.parts")
    process = owner(folder, "waits")
    with pytest.raises(JobError, match="another process is writing it"), lock.hold(folder, folder):
        pass
    assert len(folder.names()) == 1, "who is refused leaves nothing"
    process.communicate("")
    assert folder.names() == []
    owner(folder, "dies").communicate()
    [left] = folder.names()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(lock, "_boot", lambda: "another machine")
        with pytest.raises(JobError, match="If that process is dead, run this again in 2 minutes"), lock.hold(folder, folder):
            pass
        elsewhere.setattr(lock, "LEASE_S", -1.0)
        with lock.hold(folder, folder):
            assert left not in folder.names(), "a lease that is not renewed ends"
    owner(folder, "dies").communicate()
    with lock.hold(folder, folder):
        assert len(folder.names()) == 1, "this machine knows that the process is dead"


def test_a_lease_is_renewed(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Location.of(f"{bucket}/renewed/out.parquet.parts")
    renewed: list[bytes] = []
    monkeypatch.setattr(lock, "_RENEW_S", 0.01)
    with lock.hold(folder, folder):
        [name] = folder.names()
        (folder / name).delete()
        while not renewed:
            renewed = [(folder / name).read() for name in folder.names()]
    assert json.loads(renewed[0])["pid"] == os.getpid()
    assert folder.names() == []


def test_what_is_not_there_is_a_clear_error(tmp_path: Path, scorer: Scorer, bucket: str) -> None:
    with pytest.raises(InputError, match=rf"{bucket}/none\.jsonl: no such file"):
        job.run(f"{bucket}/none.jsonl", tmp_path / "out.parquet", scorer)
    source = dump(tmp_path / "in.jsonl", 20)
    nowhere = bucket.replace("dumps", "nobucket")
    with pytest.raises(JobError, match=rf"{nowhere}/out\.parquet: .*nobucket.* not found"):
        job.run(source, f"{nowhere}/out.parquet", scorer)


def test_ray_reads_and_writes_remote_files(tmp_path: Path, scorer: Scorer, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    from narratives.distributed import RayEngine

    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    source = sent(tmp_path / "in", f"{bucket}/ray/in")
    job.run(tmp_path / "in", tmp_path / "out.parquet", scorer)
    interrupted(source, f"{bucket}/ray/out.parquet", scorer)
    engine: Any = RayEngine(workers=1)
    summary = job.run(source, f"{bucket}/ray/out.parquet", scorer, engine=engine)
    assert summary.n_resumed == 150
    same(tmp_path / "out.parquet", f"{bucket}/ray/out.parquet")
