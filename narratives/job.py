"""A scoring job: read -> score -> write in parts -> manifest. It loses nothing, and goes on after a kill.

Beside the output `out.parquet` stand, while the job runs, `out.parquet.parts/`: finished parts (Parquet, each with its
rejected records and its counts) and `job.json`, which says of what they are parts. A part exists once its `.json` does; it
is written last, by renaming. A later run with the same input, model and settings skips as many records as the finished
parts hold; parts are scored alone, so the rows are those of an undisturbed run. At the end the parts become the output, by
renaming too, with `out.rejected.jsonl` and `out.manifest.json`, and their folder is removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import itertools
import json
import os
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from narratives import plugins
from narratives.errors import ConfigError, InputError, JobError
from narratives.readers import detect_format, read_posts
from narratives.records import Post, Prediction, RejectedRecord
from narratives.scorer import Scorer
from narratives.writers import Writer
from narratives.writers.table import to_batch

PART_POSTS = 4096
"""Posts of a part: what is lost at most by a kill, and what is sorted by length together."""

MANIFEST_FORMAT = 1


_NUMBERS = ("n_records", "n_posts", "n_rejected", "n_notes", "n_flagged", "n_truncated", "n_screened")
_COUNTERS = ("labels", "stances", "languages")


@dataclass(slots=True)
class Counts:
    """What a job, or one part of it, went through. `n_records` counts what the reader gave: posts, rejects and notes."""

    n_records: int = 0
    n_posts: int = 0
    n_rejected: int = 0
    n_notes: int = 0
    n_flagged: int = 0
    n_truncated: int = 0
    n_screened: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    stances: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Counts) -> Counts:
        total = Counts()
        for name in (*_NUMBERS, *_COUNTERS):
            setattr(total, name, getattr(self, name) + getattr(other, name))
        return total

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _NUMBERS} | {name: dict(getattr(self, name)) for name in _COUNTERS}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Counts:
        counts = cls()
        for name in _NUMBERS:
            setattr(counts, name, int(values[name]))
        for name in _COUNTERS:
            setattr(counts, name, Counter(values[name]))
        return counts


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where a job writes. `parts` exists only while it is under way."""

    output: Path
    rejected: Path
    manifest: Path
    parts: Path

    @classmethod
    def of(cls, output: Path) -> Outputs:
        stem = output.name.removesuffix(output.suffix)
        return cls(
            output,
            output.with_name(f"{stem}.rejected.jsonl"),
            output.with_name(f"{stem}.manifest.json"),
            output.with_name(f"{output.name}.parts"),
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """What a finished job says. `n_resumed` posts came from an earlier, interrupted run; `seconds` are this run's."""

    outputs: Outputs
    counts: Counts
    n_resumed: int
    seconds: float
    already_done: bool = False

    @property
    def posts_per_second(self) -> float:
        return (self.counts.n_posts - self.n_resumed) / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Told after each part: `share` of the input read, in [0, 1] (of its bytes), None where it cannot be known."""

    counts: Counts
    share: float | None


def run(
    source: str | Path,
    output: str | Path,
    scorer: Scorer,
    *,
    format: str = "auto",
    text_column: str | None = None,
    resume: bool = True,
    overwrite: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Summary:
    """Score a file.

    Args:
        source: the dump, in any format of `plugins.READERS`.
        output: the file to write; its ending chooses the writer.
        resume: go on from the parts of an interrupted run of the same job; False: begin again.
        overwrite: replace an output that exists; without it, that is an error unless it is this very job's.

    Raises:
        InputError: the source cannot be read.
        ConfigError: the output's ending is unknown.
        JobError: the output is another job's, or another process is at work on it, or the disk failed.
    """
    source, outputs = Path(source), Outputs.of(Path(output))
    writer_name = plugins.by_suffix(plugins.WRITERS, outputs.output.suffix)
    if writer_name is None:
        known = ", ".join(suffix for leaf in plugins.WRITERS.values() for suffix in leaf.suffixes)
        raise ConfigError(f"output {outputs.output.name!r}: unknown ending {outputs.output.suffix!r}; known: {known}")
    if not source.is_file():
        raise InputError(source, "is a folder; give one file, for example its result.json" if source.is_dir() else "no such file")
    if outputs.output.exists() and source.samefile(outputs.output):
        raise ConfigError(f"output {outputs.output} is the input itself; choose another")
    reader = detect_format(source) if format == "auto" else format
    identity = _identity(source, reader, text_column, scorer)
    try:
        outputs.output.parent.mkdir(parents=True, exist_ok=True)
        if (done := _finished(outputs, identity)) is not None and not overwrite:
            shutil.rmtree(outputs.parts, ignore_errors=True)
            return Summary(outputs, done, done.n_posts, 0.0, already_done=True)
        if not overwrite:
            _refuse_foreign(outputs, identity, resume)
        with _lock(outputs):
            if overwrite or not resume:
                for old in outputs.parts.glob("part-*"):
                    old.unlink()
            _write_atomically(outputs.parts / "job.json", identity)
            return _run(source, outputs, scorer, writer_name, reader, text_column, identity, on_progress)
    except OSError as error:
        raise JobError(
            f"{error.filename or outputs.output}: {error.strerror or error}; finished parts are kept in {outputs.parts.name}, "
            "run the same command again to go on"
        ) from error


def _run(
    source: Path,
    outputs: Outputs,
    scorer: Scorer,
    writer_name: str,
    reader: str,
    text_column: str | None,
    identity: dict[str, Any],
    on_progress: Callable[[Progress], None],
) -> Summary:
    started, clock = datetime.now(UTC), time.monotonic()
    finished = _finished_parts(outputs.parts)
    counts = sum((part for part in finished), Counts())
    n_resumed = counts.n_posts
    records = itertools.islice(enumerate(read_posts(source, format=reader, text_column=text_column), start=1), counts.n_records, None)
    size = source.stat().st_size
    n_bytes = 0
    # What was rejected between the posts of each part, until the part is scored: one part is prepared while another is scored.
    waiting: deque[tuple[list[RejectedRecord], int]] = deque()

    def next_parts() -> Iterator[list[Post]]:
        while True:
            posts, rejected, n_records = _next_part(records)
            if not n_records:
                return
            waiting.append((rejected, n_records))
            yield posts

    for number, predictions in enumerate(scorer.pipe_chunks(next_parts()), start=len(finished)):
        rejected, n_records = waiting.popleft()
        n_bytes += sum(len(p.post.text.encode("utf-8", "replace")) for p in predictions)
        part = _count(predictions, rejected, n_records)
        _write_part(outputs.parts / f"part-{number:06}", predictions, rejected, part, scorer.labels)
        counts += part
        # Bytes of text against bytes of file: rough, but known without a first pass over the file.
        on_progress(Progress(counts, min(1.0, 1.6 * n_bytes / size) if size and not finished else None))
    if not counts.n_records:
        raise InputError(source, "holds no posts")
    _merge(outputs, writer_name, scorer.labels)
    seconds = time.monotonic() - clock
    _write_atomically(outputs.manifest, _manifest(identity, counts, outputs, scorer, started, seconds, n_resumed))
    shutil.rmtree(outputs.parts)
    return Summary(outputs, counts, n_resumed, seconds)


def _next_part(records: Iterator[tuple[int, Post | RejectedRecord]]) -> tuple[list[Post], list[RejectedRecord], int]:
    """Up to `PART_POSTS` posts with what was rejected between them, and how many records that took."""
    posts: list[Post] = []
    rejected: list[RejectedRecord] = []
    n_records = 0
    for position, item in records:
        n_records += 1
        if isinstance(item, RejectedRecord):
            rejected.append(item)
        else:
            # A row without an id could never be decided on: it gets its place in the file.
            posts.append(item if item.id is not None else replace(item, id=f"row{position}"))
        if len(posts) == PART_POSTS or n_records == 4 * PART_POSTS:
            break
    return posts, rejected, n_records


def _count(predictions: list[Prediction], rejected: list[RejectedRecord], n_records: int) -> Counts:
    return Counts(
        n_records=n_records,
        n_posts=len(predictions),
        n_rejected=sum(not record.post_kept for record in rejected),
        n_notes=sum(record.post_kept for record in rejected),
        n_flagged=sum(bool(p.labels) for p in predictions),
        n_truncated=sum(p.truncated for p in predictions),
        n_screened=sum(p.screened for p in predictions),
        labels=Counter(label for p in predictions for label in p.labels),
        stances=Counter(p.stance for p in predictions if p.stance),
        languages=Counter(p.language for p in predictions if p.language),
    )


# ---- parts -----------------------------------------------------------------------------------------------------------


def _write_part(stem: Path, predictions: list[Prediction], rejected: list[RejectedRecord], counts: Counts, labels: tuple[str, ...]) -> None:
    rows = stem.with_suffix(".parquet")
    scratch = stem.with_suffix(".parquet.tmp")
    table = pa.Table.from_batches([to_batch(predictions, labels)])
    pq.write_table(table, scratch, compression="zstd")
    _sync(scratch)
    os.replace(scratch, rows)
    scratch = stem.with_suffix(".rejected.tmp")
    scratch.write_bytes(b"".join(orjson.dumps(_rejected_row(r), option=orjson.OPT_APPEND_NEWLINE) for r in rejected))
    _sync(scratch)
    os.replace(scratch, stem.with_suffix(".rejected"))
    _write_atomically(stem.with_suffix(".json"), counts.to_json())


def _rejected_row(record: RejectedRecord) -> dict[str, object]:
    row = asdict(record)
    return {k: v.encode("utf-8", "replace").decode() if isinstance(v, str) else v for k, v in row.items()}


def _finished_parts(folder: Path) -> list[Counts]:
    """Counts of the finished parts, in order; anything after the first gap is removed."""
    found: list[Counts] = []
    for number in itertools.count():
        seal = folder / f"part-{number:06}.json"
        if not seal.is_file():
            break
        found.append(Counts.from_json(json.loads(seal.read_text(encoding="utf-8"))))
    kept = {f"part-{number:06}" for number in range(len(found))}
    for path in folder.glob("part-*"):
        if path.name.split(".", 1)[0] not in kept or path.suffix == ".tmp":
            path.unlink()
    return found


def _merge(outputs: Outputs, writer_name: str, labels: tuple[str, ...]) -> None:
    parts = sorted(outputs.parts.glob("part-*.parquet"))
    make: type[Writer] = plugins.load("output format", plugins.WRITERS, writer_name)
    scratch = outputs.parts / f"merged{outputs.output.suffix}"
    writer = make(scratch, labels)
    for part in parts:
        with pq.ParquetFile(part) as file:
            for batch in file.iter_batches(batch_size=PART_POSTS):
                writer.write(batch)
    writer.close()
    _sync(scratch)
    rejected = outputs.parts / "merged.rejected"
    with rejected.open("wb") as stream:
        for part in parts:
            with part.with_suffix(".rejected").open("rb") as source:
                shutil.copyfileobj(source, stream)
    _sync(rejected)
    os.replace(scratch, outputs.output)
    os.replace(rejected, outputs.rejected)


# ---- which job it is --------------------------------------------------------------------------------------------------


def _identity(source: Path, reader: str, text_column: str | None, scorer: Scorer) -> dict[str, Any]:
    """What makes two runs the same job: the input's bytes, the model, and every setting that changes a row."""
    with source.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {
        "input": {"name": source.name, "bytes": source.stat().st_size, "sha256": digest},
        "format": reader,
        "text_column": text_column,
        "model": scorer.bundle.model_id,
        "model_sha256": scorer.bundle.digest,
        "labels": list(scorer.config.labels) if scorer.config.labels is not None else None,
        "operating_point": scorer.config.operating_point,
        "evidence": scorer.config.evidence,
        "screen": scorer.screens,
        "backend": scorer.backend.name,
        "precision": scorer.backend.precision,
        "max_windows": scorer.config.max_windows,
    }


def _finished(outputs: Outputs, identity: dict[str, Any]) -> Counts | None:
    """The counts of this very job's finished output, if that is what stands there, unchanged."""
    try:
        manifest = json.loads(outputs.manifest.read_text(encoding="utf-8"))
        same = manifest["job"] == identity and outputs.output.stat().st_size == manifest["output"]["bytes"]
        return Counts.from_json(manifest["counts"]) if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _refuse_foreign(outputs: Outputs, identity: dict[str, Any], resume: bool) -> None:
    try:
        earlier = json.loads((outputs.parts / "job.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        earlier = None
    if earlier is not None and resume and earlier != identity:
        changed = ", ".join(key for key in identity if earlier.get(key) != identity[key])
        raise JobError(
            f"{outputs.parts}: holds parts of another job (different: {changed}). "
            "Run that job again to finish it, choose another output, or pass --overwrite to discard its parts."
        )
    if earlier is None and outputs.output.exists():
        raise JobError(f"{outputs.output}: exists and is not the output of this job; choose another name or pass --overwrite")


@contextlib.contextmanager
def _lock(outputs: Outputs) -> Iterator[None]:
    """One process at a time on one output; the lock goes with the process, however it ends."""
    outputs.parts.mkdir(exist_ok=True)
    with (outputs.parts / "lock").open("w") as stream:
        if not _take(stream):
            raise JobError(f"{outputs.output}: another process is writing it; wait for it, or choose another output")
        yield


def _take(stream: IO[str]) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows: a file that is open for writing there cannot be replaced, which serves as well
        return True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _manifest(
    identity: dict[str, Any], counts: Counts, outputs: Outputs, scorer: Scorer, started: datetime, seconds: float, n_resumed: int
) -> dict[str, Any]:
    return {
        "format": MANIFEST_FORMAT,
        "narratives": importlib.metadata.version("narratives"),
        "job": identity,
        "thresholds": dict(zip(scorer.labels, scorer.bundle.calibration.at(scorer.config.operating_point), strict=True)),
        "counts": counts.to_json(),
        "output": {
            "name": outputs.output.name,
            "bytes": outputs.output.stat().st_size,
            "rejected": outputs.rejected.name,
        },
        "run": {
            "started_at": started.isoformat(timespec="seconds"),
            "seconds": round(seconds, 1),
            "posts_from_an_earlier_run": n_resumed,
        },
    }


def _write_atomically(path: Path, value: dict[str, Any]) -> None:
    scratch = path.with_name(path.name + ".tmp")
    scratch.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    _sync(scratch)
    os.replace(scratch, path)


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
