"""A scoring job: read -> score -> write in parts -> manifest. It loses nothing, and goes on after a kill.

Beside the output `out.parquet` stand, while the job runs, `out.parquet.parts/`: the finished parts (`parts.py`) and `job.json`, which
says of what they are parts. A later run with the same input, model and settings scores only the parts that are not there, so the rows
are those of an undisturbed run. At the end the parts become the output, by renaming too, with `out.rejected.jsonl` and
`out.manifest.json`, and their folder is removed.

Who scores the parts is an `Engine`: this process (`here`), or a cluster (`distributed.RayEngine`). Everything else is the same.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from narratives import lock, parts, plugins
from narratives.errors import ConfigError, InputError, JobError
from narratives.parts import PART_POSTS, Counts, Part, PartId, Seal
from narratives.readers import detect_format
from narratives.records import Post
from narratives.scorer import Scorer
from narratives.storage import Location

__all__ = ["Counts", "Engine", "Outputs", "Progress", "Summary", "Work", "here", "run"]

MANIFEST_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where a job writes. `parts` exists only while it is under way."""

    output: Location
    rejected: Location
    manifest: Location
    parts: Location

    @classmethod
    def of(cls, output: str | Path | Location) -> Outputs:
        output = Location.of(output)
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


@dataclass(frozen=True, slots=True)
class Work:
    """What an engine is to do: score every part of `files` that is not `done`, and store it in `folder`.

    `tell` is called with each part's counts as it is finished, and its bytes of text where they are known.
    """

    files: tuple[Location, ...]
    formats: tuple[str, ...]
    text_column: str | None
    part_posts: int
    folder: Location
    scorer: Scorer
    done: frozenset[PartId]
    tell: Callable[[Counts, int | None], None]

    def cut(self, number: int) -> Iterator[Part]:
        """The parts of a file, those that are done among them."""
        prefix = f"{self.files[number].name}:" if len(self.files) > 1 else ""
        return parts.cut(
            self.files[number],
            number,
            format=self.formats[number],
            text_column=self.text_column,
            part_posts=self.part_posts,
            id_prefix=prefix,
        )


class Engine(Protocol):
    """Does the work; returns when all parts are stored. `about` goes into the manifest's `run`."""

    about: dict[str, Any]

    def __call__(self, work: Work) -> None: ...


class _Here:
    about: dict[str, Any] = {"engine": "local"}  # noqa: RUF012  # a constant

    def __call__(self, work: Work) -> None:
        # The parts under way: one is prepared while another is scored.
        waiting: deque[Part] = deque()

        def posts_of_parts() -> Iterator[list[Post]]:
            for number in range(len(work.files)):
                for part in work.cut(number):
                    if part.id not in work.done:
                        waiting.append(part)
                        yield part.posts

        for predictions in work.scorer.pipe_chunks(posts_of_parts()):
            part = waiting.popleft()
            n_bytes = sum(len(p.post.text.encode("utf-8", "replace")) for p in predictions)
            scored = parts.encode(part, predictions, work.scorer.labels)
            parts.store(work.folder, part.id, scored)
            work.tell(Counts.from_json(json.loads(scored.seal)), n_bytes)


here: Engine = _Here()
"""The engine of one machine: this process."""


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
    engine: Engine = here,
) -> Summary:
    """Score a file, or a folder of files.

    Args:
        source: the dump, in any format of `plugins.READERS`; a folder's files are taken in the order of their names. Local, or
            `s3://…`, `gs://…`.
        output: the file to write, local or remote; its ending chooses the writer.
        resume: go on from the parts of an interrupted run of the same job; False: begin again.
        overwrite: replace an output that exists; without it, that is an error unless it is this very job's.
        engine: who scores the parts.

    Raises:
        InputError: the source cannot be read.
        ConfigError: the output's ending is unknown, or it is the input.
        UnknownName: there is no such format.
        JobError: the output is another job's, or another process is at work on it, or the disk failed.
    """
    outputs = Outputs.of(output)
    writer_name = plugins.by_suffix(plugins.WRITERS, outputs.output.suffix)
    if writer_name is None:
        known = ", ".join(suffix for leaf in plugins.WRITERS.values() for suffix in leaf.suffixes)
        raise ConfigError(f"output {outputs.output.name!r}: unknown ending {outputs.output.suffix!r}; known: {known}")
    dump = Location.of(source)
    try:
        files = _files(dump)
        if any(_same(file, outputs.output) for file in files):
            raise ConfigError(f"output {outputs.output} is the input itself; choose another")
        named = None if format == "auto" else plugins.known_name("format", plugins.READERS, format)
        formats = tuple(named or _format(file) for file in files)
        identity = _identity(dump, files, formats, text_column, scorer)
    except OSError as error:
        raise InputError(str(dump), f"cannot be read: {error.strerror or error}") from error
    try:
        outputs.output.parent.make_folder()
        if (finished := _finished(outputs, identity)) is not None and not overwrite:
            if outputs.parts.is_folder():
                with lock.hold(outputs.parts, outputs.output):
                    pass  # a process that writes it anew would be at work there, and hold it
                outputs.parts.delete_folder()
            return Summary(outputs, finished, finished.n_posts, 0.0, already_done=True)
        if not overwrite:
            _refuse_foreign(outputs, identity, resume)
        with lock.hold(outputs.parts, outputs.output):
            started, clock = datetime.now(UTC), time.monotonic()
            keep = frozenset(parts.sealed_ids(outputs.parts)) if resume and not overwrite else frozenset()
            parts.clear(outputs.parts, keep=keep)
            _write_json(outputs.parts / "job.json", identity)
            earlier = parts.read_seals(outputs.parts, sorted(keep))
            n_resumed = sum(seal.counts.n_posts for seal in earlier.values())
            tell = _teller(earlier, sum(file.size() for file in files), on_progress)
            engine(Work(files, formats, text_column, PART_POSTS, outputs.parts, scorer, keep, tell))
            ids = parts.sealed_ids(outputs.parts)
            seals = earlier | parts.read_seals(outputs.parts, (part for part in ids if part not in earlier))
            if (missing := parts.first_missing(seals, len(files))) is not None:
                raise JobError(f"{outputs.parts}: {missing.stem} is missing; run the same command again to score it")
            counts = sum((seals[part].counts for part in ids), Counts())
            if not counts.n_records:
                raise InputError(str(dump), "holds no posts")
            parts.merge(outputs.parts, ids, outputs.output, outputs.rejected, writer_name, scorer.labels)
            seconds = time.monotonic() - clock
            about = {
                "started_at": started.isoformat(timespec="seconds"),
                "seconds": round(seconds, 1),
                "posts_from_an_earlier_run": n_resumed,
                **engine.about,
            }
            _write_json(outputs.manifest, _manifest(identity, counts, outputs, scorer, about))
        outputs.parts.delete_folder()
        return Summary(outputs, counts, n_resumed, seconds)
    except OSError as error:
        raise JobError(
            f"{error.filename or outputs.output}: {error.strerror or error}; finished parts are kept in {outputs.parts.name}, "
            "run the same command again to go on"
        ) from error


def _teller(earlier: dict[PartId, Seal], size: int, on_progress: Callable[[Progress], None]) -> Callable[[Counts, int | None], None]:
    total = sum((seal.counts for seal in earlier.values()), Counts())
    text_bytes: int | None = None if earlier or not size else 0

    def tell(counts: Counts, n_bytes: int | None) -> None:
        nonlocal total, text_bytes
        total = total + counts
        text_bytes = text_bytes + n_bytes if text_bytes is not None and n_bytes is not None else None
        # Bytes of text against bytes of file: rough, but known without a first pass over the file.
        on_progress(Progress(total, min(1.0, 1.6 * text_bytes / size) if text_bytes is not None else None))

    return tell


# ---- the input --------------------------------------------------------------------------------------------------------

_OURS = re.compile(r"\.(rejected\.jsonl|manifest\.json)$")
_PACKED = re.compile(r"\.(gz|zst)$")


def _files(source: Location) -> tuple[Location, ...]:
    """The file itself, or the dumps that stand directly in the folder, in the order of their names."""
    if not source.is_folder():
        if not source.is_file():
            raise InputError(str(source), "no such file")
        return (source,)
    names = [
        name
        for name in source.names()
        if not name.startswith((".", "_"))
        and not _OURS.search(name)
        and plugins.by_suffix(plugins.READERS, Path(_PACKED.sub("", name)).suffix) is not None
    ]
    if not names:
        known = ", ".join(suffix for leaf in plugins.READERS.values() for suffix in leaf.suffixes)
        raise InputError(str(source), f"is a folder without a dump in it; known endings: {known}, and .gz or .zst after them")
    return tuple(source / name for name in names)


def _same(file: Location, output: Location) -> bool:
    if file.is_remote or output.is_remote:
        return file.text == output.text
    return output.local.exists() and file.local.samefile(output.local)


def _format(file: Location) -> str:
    if not file.is_remote:
        return detect_format(file.local)
    with file.local_head() as path:
        return detect_format(path)


# ---- which job it is --------------------------------------------------------------------------------------------------


def _identity(
    source: Location, files: tuple[Location, ...], formats: tuple[str, ...], text_column: str | None, scorer: Scorer
) -> dict[str, Any]:
    """What makes two runs the same job: the input's bytes, the model, and every setting that changes a row."""
    with ThreadPoolExecutor(8) as workers:
        digests = list(workers.map(_digest, files))
    digest = digests[0]
    if files != (source,):
        listing = "".join(f"{sha256}  {file.name}\n" for sha256, file in zip(digests, files, strict=True))
        digest = hashlib.sha256(listing.encode()).hexdigest()
    return {
        "input": {"name": source.name, "bytes": sum(file.size() for file in files), "sha256": digest}
        | ({"files": len(files)} if files != (source,) else {}),
        "format": ", ".join(sorted(set(formats))),
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
        "part_posts": PART_POSTS,
    }


def _digest(file: Location) -> str:
    digest = hashlib.sha256()
    with file.open() as stream:
        for block in iter(functools.partial(stream.read, 2**20), b""):
            digest.update(block)
    return digest.hexdigest()


def _finished(outputs: Outputs, identity: dict[str, Any]) -> Counts | None:
    """The counts of this very job's finished output, if that is what stands there, unchanged."""
    try:
        manifest = json.loads(outputs.manifest.read())
        same = manifest["job"] == identity and outputs.output.size() == manifest["output"]["bytes"]
        return Counts.from_json(manifest["counts"]) if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _refuse_foreign(outputs: Outputs, identity: dict[str, Any], resume: bool) -> None:
    try:
        earlier = json.loads((outputs.parts / "job.json").read())
    except (OSError, ValueError):
        earlier = None
    if earlier is not None and resume and earlier != identity:
        changed = ", ".join(key for key in identity if earlier.get(key) != identity[key])
        raise JobError(
            f"{outputs.parts}: holds parts of another job (different: {changed}). "
            "Run that job again to finish it, choose another output, or pass --overwrite to discard its parts."
        )
    if earlier is None and outputs.output.is_file():
        raise JobError(f"{outputs.output}: exists and is not the output of this job; choose another name or pass --overwrite")


def _manifest(identity: dict[str, Any], counts: Counts, outputs: Outputs, scorer: Scorer, about: dict[str, Any]) -> dict[str, Any]:
    return {
        "format": MANIFEST_FORMAT,
        "narratives": importlib.metadata.version("narratives"),
        "job": identity,
        "thresholds": dict(zip(scorer.labels, scorer.bundle.calibration.at(scorer.config.operating_point), strict=True)),
        "counts": counts.to_json(),
        "output": {
            "name": outputs.output.name,
            "bytes": outputs.output.size(),
            "rejected": outputs.rejected.name,
        },
        "run": about,
    }


def _write_json(file: Location, value: dict[str, Any]) -> None:
    file.write((json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode())
