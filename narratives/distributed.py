"""The same job on Ray Data: `RayEngine` is an engine of `job.run` that scores parts on a cluster. Needs `narratives[ray]`.

    read (a task a file)  ->  a row for each part  ->  score (a pool of actors, a loaded model in each)  ->  store the part

A row is a part, because parts are what both engines score alone: so rows and manifest are those of the local engine, whatever the
cluster does. One task reads a file from its start to its end (`parts.cut`; formats that are broken, compressed or nested have no safe
place to split), and files are read at once: give a big dump as a folder of files. Actors take the bundle from the folder of parts, which
all nodes see, and check that they score as the driver would.

Ray Data's checkpoint drops the rows of finished parts after an interruption: its id column is the part's number, and it is written
anew from the seals of the parts before each run, so that the two cannot disagree and a job may go on under the other engine. A part that
is written twice (Ray promises at least once) is the same file with the same bytes.

Workers and nodes may come and go, so parts are tried again without end; but how often a part was begun is kept beside it, and one that
ended its workers is scored in a child process, without the posts that end that too (`isolation.py`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import socket
import tempfile
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from narratives import bundle as bundles
from narratives import isolation, parts
from narratives.config import BackendName, ScoreConfig
from narratives.errors import ConfigError, InputError, JobError, MissingDependency, NarrativesError
from narratives.job import Work
from narratives.parts import Part, PartFiles, PartId
from narratives.records import Prediction
from narratives.scorer import Scorer
from narratives.storage import Location

try:
    import ray
    from ray import data as ray_data
    from ray.data.checkpoint import CheckpointConfig
except ImportError as missing:
    raise MissingDependency("ray", "ray") from missing

_ID = "number"
_PARTS_OF_A_FILE = 10**6
_ROOM = 0.2
"""CPUs of an actor's share that are left to the tasks that read and store: else a pool as large as the cluster starves them."""
_POLL_S = 2.0
_CONNECT_S = 10.0
"""Ray itself tries an address where nobody answers for minutes."""
_TRIES = 2
"""How often a part is scored in the worker itself: a worker may die of something else, but hardly twice over the same part."""
_READ_TRIES = 6
"""More of them: a big file is read for hours, in which nodes may go."""

_READ_SCHEMA = pa.schema([(_ID, pa.int64()), ("part", pa.large_binary())])
_SCORED_SCHEMA = pa.schema([(_ID, pa.int64()), ("rows", pa.large_binary()), ("rejected", pa.large_binary()), ("seal", pa.large_binary())])


class RayEngine:
    """Scores a job's parts on a Ray cluster.

    Args:
        address: of a running cluster: "auto", or "host:port"; None: a cluster of this machine alone, for as long as the job runs.
        workers: actors, each with its own model; None: as many as the cluster has room for when the job starts.
        threads: CPUs of an actor; with `--backend torch` and a GPU in the cluster an actor takes one GPU instead.
    """

    def __init__(self, *, address: str | None = None, workers: int | None = None, threads: int = 1) -> None:
        self.address = address
        self.workers = workers
        self.threads = threads
        self.about: dict[str, Any] = {"engine": "ray"}

    def __call__(self, work: Work) -> None:
        """Score what is not done.

        Raises:
            JobError: no cluster, no room in it, workers that differ from the driver, or an error of Ray's own.
            InputError: a file cannot be read.
        """
        if self.address is not None and not work.folder.is_remote:
            work = dataclasses.replace(work, folder=_absolute(work.folder), files=tuple(map(_absolute, work.files)))
        with _cluster(self.address), _progress(work):
            try:
                self._run(work)
            except ray.exceptions.RayError as error:
                if (ours := _cause(error)) is None:
                    raise  # a bug: its traceback, and the worker's, are what helps
                raise ours from error

    def _run(self, work: Work) -> None:
        # The driver's backend by name: what `auto` finds may differ from node to node.
        config = dataclasses.replace(work.scorer.config, backend=cast(BackendName, work.scorer.backend.name), threads=self.threads)
        bundle = work.folder / "bundle"
        _send_bundle(work.scorer, bundle)
        share = self._share(config)
        n_nodes = sum(node["Alive"] for node in ray.nodes())
        self.about |= {"workers": share["workers"], "nodes": n_nodes}
        with ray_data.DataContext.current(_context(work)):
            rows = ray_data.read_datasource(
                _PartSource(work), override_num_blocks=len(work.files), num_cpus=_ROOM / 2, concurrency=2 * n_nodes
            )
            # Ray Data starts actors and their tasks again without end, and nodes do come and go; `_PartScorer` sees to parts that end it.
            scored = rows.map_batches(
                _PartScorer,
                batch_size=1,
                batch_format="pyarrow",
                zero_copy_batch=True,
                compute=ray_data.ActorPoolStrategy(min_size=1, max_size=share["workers"], initial_size=share["workers"]),
                fn_constructor_args=(
                    bundle,
                    dataclasses.asdict(config),
                    _must_agree(work.scorer),
                    work.folder,
                    tuple(map(str, work.files)),
                ),
                num_cpus=share["cpus"],
                num_gpus=share["gpus"],
            )
            scored.write_datasink(_PartSink(work.folder), ray_remote_args={"num_cpus": _ROOM / 2}, concurrency=n_nodes)

    def _share(self, config: ScoreConfig) -> dict[str, Any]:
        """What an actor takes, and how many of them there are."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpus = int(sum(node.get("GPU", 0) for node in nodes)) if config.backend == "torch" else 0
        room = gpus or sum(int(node.get("CPU", 0)) // self.threads for node in nodes)
        if not room:
            sizes = ", ".join(f"{node.get('CPU', 0):g}" for node in nodes)
            raise JobError(f"no node of the Ray cluster has {self.threads} CPUs (found: {sizes}); pass a smaller --threads")
        return {"workers": self.workers or room, "cpus": self.threads - _ROOM if not gpus else _ROOM, "gpus": 1 if gpus else 0}


class _PartSource(ray_data.Datasource):  # type: ignore[misc]  # Ray is not typed
    """Rows of parts: a read task a file."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        # Without the scorer, which no reader needs: tasks are sent to other machines.
        self._work = dataclasses.replace(work, scorer=None, tell=None, done=frozenset())  # type: ignore[arg-type]
        self._sizes = [file.size() for file in work.files]

    def get_name(self) -> str:
        return "Dump"

    def estimate_inmemory_data_size(self) -> int | None:
        return sum(self._sizes)

    def get_read_tasks(self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None) -> list[ray_data.ReadTask]:
        work = self._work

        def task(number: int) -> ray_data.ReadTask:
            metadata = ray_data.block.BlockMetadata(None, self._sizes[number], [str(work.files[number])], None)
            return ray_data.ReadTask(lambda: _rows_of(work, number), metadata, schema=_READ_SCHEMA)

        return [task(number) for number in range(len(work.files))]


def _rows_of(work: Work, number: int) -> Iterator[pa.Table]:
    name = f"reading-{number:05}"
    if parts.begin(work.folder, name) > _READ_TRIES:
        raise JobError(
            f"{work.files[number]}: reading it ended {_READ_TRIES} workers; is there enough memory? If it is the file, leave it out. "
            "Finished parts are kept, run the same command again to go on"
        )
    try:
        for part in work.cut(number):
            yield pa.table([[_number(part.id)], [part.to_json()]], schema=_READ_SCHEMA)
    except OSError as error:
        reason = f"cannot be read on a worker: {error.strerror or error}. All nodes must see it: a shared folder, s3:// or gs://"
        raise InputError(str(work.files[number]), reason) from error
    parts.forget(work.folder, name)


def _load(bundle: str, config: dict[str, Any]) -> Scorer:
    return Scorer.from_bundle(bundles.load(bundle), config=ScoreConfig(**config))


class _PartScorer:
    """An actor: a loaded model, and parts one after the other."""

    load = staticmethod(_load)

    def __init__(
        self, bundle: Location, config: dict[str, Any], expected: dict[str, str], folder: Location, files: tuple[str, ...]
    ) -> None:
        self._bundle = tempfile.TemporaryDirectory(prefix="narratives-bundle-")
        for name in bundle.names():
            Path(self._bundle.name, name).write_bytes((bundle / name).read())
        self._load = functools.partial(self.load, self._bundle.name, config)
        self._loaded: Scorer | None = self._load()
        self._labels = self._loaded.labels
        self._parts, self._files = folder, files
        if (found := _must_agree(self._loaded)) != expected:
            differing = ", ".join(f"{key} {found[key]} instead of {expected[key]}" for key in expected if found[key] != expected[key])
            raise JobError(
                f"a worker on {ray.util.get_node_ip_address()} would score otherwise than the driver ({differing}); "
                "use nodes of one kind and one version of narratives, or pass --backend onnx"
            )

    def __call__(self, batch: pa.Table) -> pa.Table:
        found: list[PartFiles] = []
        for row in batch["part"]:
            part = Part.from_json(row.as_py())
            n_tries = parts.begin(self._parts, part.id.stem)
            part, predictions = self._isolate(part) if n_tries > _TRIES else (part, self._score(part))
            found.append(parts.encode(part, predictions, self._labels))
            parts.forget(self._parts, part.id.stem)
        return pa.table([batch[_ID], [s.rows for s in found], [s.rejected for s in found], [s.seal for s in found]], schema=_SCORED_SCHEMA)

    def _score(self, part: Part) -> list[Prediction]:
        if self._loaded is None:
            self._loaded = self._load()
        [predictions] = self._loaded.pipe_chunks([part.posts])
        return predictions

    def _isolate(self, part: Part) -> tuple[Part, list[Prediction]]:
        """Score a part that ended workers, without the posts that do it: these become rejected records."""
        self._loaded = None  # the child has its own, and there may be memory for one
        file = self._files[part.id.file]
        try:
            predictions, fatal = isolation.score(part.posts, self._load)
        except JobError as error:
            posts = f"{part.id.stem}, posts {part.posts[0].id!r} to {part.posts[-1].id!r}" if part.posts else part.id.stem
            raise JobError(f"{file} ({posts}): ended {_TRIES} workers: {error}; finished parts are kept") from error
        return parts.without(part, {i: f"scoring it ends the process ({how})" for i, how in fatal.items()}, file), predictions


class _PartSink(ray_data.Datasink[None]):  # type: ignore[misc]  # Ray is not typed
    """Stores parts; a retried task stores the same bytes again."""

    def __init__(self, folder: Location) -> None:
        self._folder = folder

    def write(self, blocks: Iterable[Any], ctx: Any) -> None:
        for block in blocks:
            for row in ray_data.block.BlockAccessor.for_block(block).to_arrow().to_pylist():
                parts.store(self._folder, _id(row[_ID]), PartFiles(row["rows"], row["rejected"], row["seal"]))


def _number(part: PartId) -> int:
    return part.file * _PARTS_OF_A_FILE + part.number


def _id(number: int) -> PartId:
    return PartId(*divmod(number, _PARTS_OF_A_FILE))


def _context(work: Work) -> ray_data.DataContext:
    # It tells of every step on the terminal; what a user can act on comes as an error.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="Checkpointing with non-file datasink")  # stored twice, a part is the same part
    context = ray_data.DataContext.get_current().copy()
    context.target_max_block_size = 1  # a block for each part, so that parts are dealt out one by one
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.checkpoint_config = _checkpoint(work)
    return context


def _checkpoint(work: Work) -> CheckpointConfig:
    """Ray Data's checkpoint, holding what is sealed; whatever it held before goes."""
    folder = work.folder / "checkpoint"
    folder.delete_folder()
    folder.make_folder()
    if work.done:
        ids = pa.BufferOutputStream()
        pq.write_table(pa.table({_ID: pa.array(sorted(map(_number, work.done)), pa.int64())}), ids)
        (folder / "sealed.parquet").write(ids.getvalue().to_pybytes())
    filesystem, path = folder.filesystem()
    config = CheckpointConfig(id_column=_ID, checkpoint_path=path, override_filesystem=filesystem, delete_checkpoint_on_success=False)
    config.checkpoint_actor_pool_max_size = 1
    config.checkpoint_actor_memory_bytes = 2**27  # a number a part: 2**20 parts are 8 MB
    return config


def _send_bundle(scorer: Scorer, folder: Location) -> None:
    """The bundle as its files: workers load and check it as they would any other."""
    if scorer.bundle.path is None:
        raise ConfigError("a bundle that stands in no folder cannot be sent to workers; save it first (save_pretrained)")
    folder.make_folder()
    for path in sorted(scorer.bundle.path.iterdir()):
        if path.is_file():
            (folder / path.name).write(path.read_bytes())


def _must_agree(scorer: Scorer) -> dict[str, str]:
    return {"model": scorer.bundle.digest, "backend": scorer.backend.name, "precision": scorer.backend.precision}


def _absolute(location: Location) -> Location:
    return location if location.is_remote else Location(str(location.local.absolute()))


@contextlib.contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """A connection to the cluster; one that is there already is used and left."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        if address is None:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        else:
            _knock(address)
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError) as error:
        advice = "start one with `ray start --head`, or leave --address out to use this machine alone"
        raise JobError(f"no Ray cluster at {address!r}: {str(error).splitlines()[0]}; {advice}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """OSError where nobody listens at "host:port"; other forms of an address are Ray's to resolve."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()


@contextlib.contextmanager
def _progress(work: Work) -> Iterator[None]:
    """Tells of new parts while the engine runs, by looking into their folder."""
    stop = threading.Event()
    known = set(work.done)

    def look() -> None:
        fresh = [part for part in parts.sealed_ids(work.folder) if part not in known]
        for part, seal in parts.read_seals(work.folder, fresh).items():
            known.add(part)
            work.tell(seal.counts, None)

    def watch() -> None:
        wait = _POLL_S
        while not stop.wait(wait):
            clock = time.monotonic()
            with contextlib.suppress(OSError):
                look()
            wait = max(_POLL_S, 20 * (time.monotonic() - clock))  # listing a folder of many parts is not free

    watcher = threading.Thread(target=watch, name="narratives-progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()
    look()


def _cause(error: BaseException) -> NarrativesError | None:
    """What of ours went wrong on a worker; what went wrong with the cluster, as an error of the job; None: a bug."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, NarrativesError):
            return seen
        if isinstance(seen, OSError):
            return JobError(f"{seen.filename or 'a worker'}: {seen.strerror or seen}; run the same command again to go on")
        seen = getattr(seen, "cause", None) or seen.__cause__
    if isinstance(error, ray.exceptions.RayTaskError):
        return None
    lines = [line for line in str(error).splitlines() if line.strip()] or [repr(error)]
    return JobError(f"Ray: {lines[0].strip()}; finished parts are kept, run the same command again to go on")
