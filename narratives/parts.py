"""A job's parts: how a dump is cut into them, how a part is stored, what it counted, and how parts become the output.

A part is up to `PART_POSTS` posts of one file with what was rejected between them. Where a part begins depends on the file alone, and a
part is scored alone: so any engine, in any order, after any interruption, makes the same parts. In the folder `out.parquet.parts/` a
part is three files: its rows (`.parquet`), its rejected records (`.rejected`) and its seal (`.json`, its counts), which is written last:
a part without a seal does not exist. On a cluster `.tries` says how often a part, or the reading of a file, was begun
that has not ended.
"""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from narratives import plugins
from narratives.errors import InputError, RecordError
from narratives.readers import read_posts
from narratives.records import Post, Prediction, RejectedRecord, place_id
from narratives.storage import Location
from narratives.writers import Writer
from narratives.writers.table import to_batch

PART_POSTS = 4096
"""Posts of a part: what is lost at most by a kill, and what is sorted by length together."""

_AHEAD = 8
"""Parts fetched before they are merged: reading from object storage is all waiting."""

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
        # Sorted, so that a manifest does not tell in which order parts were finished.
        return {name: getattr(self, name) for name in _NUMBERS} | {name: dict(sorted(getattr(self, name).items())) for name in _COUNTERS}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Counts:
        counts = cls()
        for name in _NUMBERS:
            setattr(counts, name, int(values[name]))
        for name in _COUNTERS:
            setattr(counts, name, Counter(values[name]))
        return counts


class PartId(NamedTuple):
    """Which part: of the job's file number `file`, its part number `number`, both from 0. Sorts in the order of the dump."""

    file: int
    number: int

    @property
    def stem(self) -> str:
        return f"part-{self.file:05}-{self.number:06}"

    @classmethod
    def of(cls, name: str) -> PartId | None:
        """From the name of one of a part's files."""
        words = name.split(".", 1)[0].split("-")
        if len(words) != 3 or words[0] != "part" or not (words[1].isdecimal() and words[2].isdecimal()):
            return None
        return cls(int(words[1]), int(words[2]))


@dataclass(frozen=True, slots=True)
class Part:
    """A part before it is scored. `is_last`: the file holds nothing after it."""

    id: PartId
    posts: list[Post]
    rejected: list[RejectedRecord]
    n_records: int
    is_last: bool

    def to_json(self) -> bytes:
        """For another process; `from_json` gives an equal part (lone surrogates in rejected records excepted)."""
        rejected = [orjson.Fragment(rejected_line(record)) for record in self.rejected]
        values = {"posts": self.posts, "rejected": rejected, "n_records": self.n_records, "is_last": self.is_last}
        return orjson.dumps({"id": tuple(self.id), **values})

    @classmethod
    def from_json(cls, data: bytes) -> Part:
        values = orjson.loads(data)
        posts = [Post(**_restored(post)) for post in values["posts"]]
        rejected = [RejectedRecord(**record) for record in values["rejected"]]
        return cls(PartId(*values["id"]), posts, rejected, values["n_records"], values["is_last"])


def without(part: Part, reasons: dict[int, str], file: str) -> Part:
    """The part with some of its posts, by their index, as rejected records: line 0, for only their id is known here."""
    rejected = [
        RejectedRecord.from_error(RecordError(file, 0, None, f"post {part.posts[i].id!r}: {reason}"), orjson.dumps(part.posts[i]).decode())
        for i, reason in reasons.items()
    ]
    posts = [post for i, post in enumerate(part.posts) if i not in reasons]
    return replace(part, posts=posts, rejected=[*part.rejected, *rejected])


_INSTANTS = tuple(f.name for f in fields(Post) if "datetime" in str(f.type))
_TUPLES = tuple(f.name for f in fields(Post) if "tuple" in str(f.type))


def _restored(values: dict[str, Any]) -> dict[str, Any]:
    """A post's fields after JSON, which knows neither times nor tuples."""
    for name in _INSTANTS:
        if values[name] is not None:
            values[name] = datetime.fromisoformat(values[name])
    for name in _TUPLES:
        if values[name] is not None:
            values[name] = tuple(values[name])
    return values


@dataclass(frozen=True, slots=True)
class Seal:
    counts: Counts
    is_last: bool


class PartFiles(NamedTuple):
    """A part as its three files."""

    rows: bytes
    rejected: bytes
    seal: bytes


def cut(file: Location, number: int, *, format: str, text_column: str | None, part_posts: int, id_prefix: str = "") -> Iterator[Part]:
    """The parts of a file, in order; one empty part if it holds nothing.

    Args:
        file: the dump; a remote one is copied to this machine while it is read.
        number: which of the job's files it is.
        id_prefix: stands before the ids that posts without one are given.

    Raises:
        InputError: the file cannot be read.
    """
    with file.local_copy() as path:
        records = _records(file, path, format, text_column)
        upcoming = next(records, None)
        for part_number in range(10**6):
            posts: list[Post] = []
            rejected: list[RejectedRecord] = []
            n_records = 0
            while upcoming is not None and len(posts) < part_posts and n_records < 4 * part_posts:
                position, item = upcoming
                n_records += 1
                if isinstance(item, RejectedRecord):
                    rejected.append(item)
                else:
                    # A row without an id could never be decided on: it gets its place in the file.
                    posts.append(item if item.id is not None else replace(item, id=place_id(position, id_prefix)))
                upcoming = next(records, None)
            yield Part(PartId(number, part_number), posts, rejected, n_records, upcoming is None)
            if upcoming is None:
                return
        raise InputError(str(file), f"holds more than {10**6:,} parts of {part_posts:,} posts; split it")


def _records(file: Location, path: Path, format: str, text_column: str | None) -> Iterator[tuple[int, Post | RejectedRecord]]:
    try:
        for position, item in enumerate(read_posts(path, format=format, text_column=text_column), start=1):
            yield position, replace(item, path=str(file)) if file.is_remote and isinstance(item, RejectedRecord) else item
    except InputError as error:
        raise InputError(str(file), error.reason) from error


def encode(part: Part, predictions: list[Prediction], labels: tuple[str, ...]) -> PartFiles:
    """A scored part as bytes; the same posts and predictions give the same bytes."""
    rows = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_batches([to_batch(predictions, labels)]), rows, compression="zstd")
    seal = {**_count(predictions, part.rejected, part.n_records).to_json(), "is_last": part.is_last}
    return PartFiles(rows.getvalue().to_pybytes(), b"".join(map(rejected_line, part.rejected)), orjson.dumps(seal))


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


def rejected_line(record: RejectedRecord) -> bytes:
    """A line of `out.rejected.jsonl`."""
    row = {k: v.encode("utf-8", "replace").decode() if isinstance(v, str) else v for k, v in asdict(record).items()}
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


# ---- the folder of parts -----------------------------------------------------------------------------------------------


def store(folder: Location, part: PartId, scored: PartFiles) -> None:
    """Write a part, its seal last. Doing it twice, or in two places at once, does no harm: the bytes are the same."""
    (folder / f"{part.stem}.parquet").write(scored.rows)
    (folder / f"{part.stem}.rejected").write(scored.rejected)
    (folder / f"{part.stem}.json").write(scored.seal)


def begin(folder: Location, what: str) -> int:
    """How often something was begun in this run and not ended (`forget`), this time among them. `what`: a part's stem, or a name."""
    file = folder / f"{what}.tries"
    try:
        n_tries = int(file.read() or 0) + 1
    except FileNotFoundError:
        n_tries = 1
    file.write(str(n_tries).encode())
    return n_tries


def forget(folder: Location, what: str) -> None:
    """It ended: what `begin` counted goes."""
    (folder / f"{what}.tries").delete()


def sealed_ids(folder: Location) -> list[PartId]:
    """The finished parts of a folder, in the order of the dump."""
    return sorted(part for name in folder.names() if name.endswith(".json") and (part := PartId.of(name)) is not None)


def read_seals(folder: Location, parts: Iterable[PartId]) -> dict[PartId, Seal]:
    def read(part: PartId) -> tuple[PartId, Seal]:
        values = json.loads((folder / f"{part.stem}.json").read())
        return part, Seal(Counts.from_json(values), bool(values["is_last"]))

    return dict(_ahead(read, parts))


def clear(folder: Location, *, keep: Collection[PartId] = ()) -> None:
    """Remove all parts but `keep`, and whatever a killed process left half-written."""
    for name in folder.names():
        part = PartId.of(name)
        if name.endswith((".tmp", ".tries")) or name.startswith("merged") or (part is not None and part not in keep):
            (folder / name).delete()


def first_missing(seals: dict[PartId, Seal], n_files: int) -> PartId | None:
    """The first part that is not there; None: each file is whole, from its first part to its last."""
    ends = [0] * n_files
    for part in sorted(seals):
        if part.file < n_files and part.number == ends[part.file]:
            ends[part.file] += 1
    for file, end in enumerate(ends):
        if not end or not seals[PartId(file, end - 1)].is_last:
            return PartId(file, end)
    return None


def merge(
    folder: Location, parts: Iterable[PartId], output: Location, rejected: Location, writer_name: str, labels: tuple[str, ...]
) -> None:
    """Parts to the output and the file of rejected records, both appearing whole; memory does not grow with their number."""
    parts = list(parts)
    make: type[Writer] = plugins.load("output format", plugins.WRITERS, writer_name)
    # Beside the parts, so that renaming suffices; for object storage on this machine's disk.
    scratch = Path(tempfile.mkdtemp(prefix="narratives-")) if folder.is_remote else folder.local
    try:
        rows = scratch / f"merged{output.suffix}"
        writer = make(rows, labels)
        with (scratch / "merged.rejected").open("wb") as lines:
            for files in _ahead(lambda part: _fetch(folder, part.stem), parts):
                with pq.ParquetFile(io.BytesIO(files.rows)) as file:
                    for batch in file.iter_batches(batch_size=PART_POSTS):
                        writer.write(batch)
                lines.write(files.rejected)
        writer.close()
        output.take(rows)
        rejected.take(scratch / "merged.rejected")
    finally:
        if folder.is_remote:
            shutil.rmtree(scratch, ignore_errors=True)


def _fetch(folder: Location, stem: str) -> PartFiles:
    return PartFiles((folder / f"{stem}.parquet").read(), (folder / f"{stem}.rejected").read(), b"")


_In = TypeVar("_In")
_Out = TypeVar("_Out")


def _ahead(call: Callable[[_In], _Out], items: Iterable[_In]) -> Iterator[_Out]:
    """`map` with a few calls under way before they are asked for; order is kept."""
    with ThreadPoolExecutor(_AHEAD, thread_name_prefix="narratives-fetch") as workers:
        waiting: deque[Future[_Out]] = deque()
        for item in items:
            waiting.append(workers.submit(call, item))
            if len(waiting) >= _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
