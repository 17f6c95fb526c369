"""Questions to a scored file: which posts pass a filter, in which order, how many of each label, and one post whole.

The numbers of every post (labels as bits, probabilities, time, views) are a DuckDB table made when the page opens, some 100 bytes a
post; texts stay on disk. In the background the flagged texts, then all, are put into a temporary table for search and for the list's
lines, and the flagged ones are clustered into reposts. Until then search reads the file itself.
"""

from __future__ import annotations

import dataclasses
import re
import tempfile
import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import duckdb
import numpy as np
import numpy.typing as npt

from narratives import clusters
from narratives.errors import InputError
from narratives.review.filters import NO_LABEL, ORDER, REVIEWED_SQL, Filter, conditions
from narratives.review.rows import Scored
from narratives.review.store import Change, Store

Rows = npt.NDArray[np.int64]
MAX_SNAPSHOTS = 24
MAX_POSTS_KEPT = 200
"""Of the posts shown last: a card is read once, though it is shown, decided on and shown again."""
SNIPPET_CHARACTERS = 220
MEMORY_LIMIT = "512MB"
"""Of DuckDB; beyond it, it keeps its pages in the temporary folder."""


_TEXTS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The posts of a filter at one moment, in order: deciding does not move what is being paged through."""

    number: int
    filter: Filter
    rows: Rows
    n_posts: int
    """With the copies that `rows` leaves out."""


class Index:
    """Opens a scored file; `mirror` keeps what stands in the store beside it for filters."""

    def __init__(self, scored: Scored, store: Store) -> None:
        self.scored, self.store = scored, store
        self._folder = tempfile.TemporaryDirectory(prefix="narratives-review-", ignore_cleanup_errors=True)
        # No extension is ever fetched, and no file but the output and the temporary folder is opened.
        self._db = duckdb.connect(
            config={
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "temp_directory": self._folder.name,
                "memory_limit": MEMORY_LIMIT,
            }
        )
        self._db.execute("SET enable_progress_bar = false")
        self._db.execute(f"SET allowed_paths = [{_quoted(str(scored.parquet))}]")
        self._db.execute(f"SET allowed_directories = [{_quoted(self._folder.name)}]")
        self._db.execute("SET enable_external_access = false")
        self._lock = threading.RLock()
        self._snapshots: OrderedDict[int, Snapshot] = OrderedDict()
        self._posts: dict[int, dict[str, object]] = {}
        self._searches: OrderedDict[tuple[str, ...], str] = OrderedDict()
        self._n_snapshots = self._n_searches = 0
        self._last_event = 0
        self._closing, self._asked = threading.Event(), threading.Event()
        self._counted: tuple[object, dict[str, tuple[int, int]]] | None = None
        self.texts_ready = threading.Event()
        self.clusters_ready = threading.Event()
        self.failure: str | None = None
        self._texts: Literal["file", "flagged", "all"] = "file"
        try:
            self._build()
        except duckdb.Error as error:
            raise InputError(scored.path, f"cannot be read: {error}; score it again") from error
        self.mirror()
        self._worker = threading.Thread(target=self._prepare, name="review-texts", daemon=True)

    def start(self, *, patience_s: float = 0) -> None:
        """Begin the work in the background, once the first list was asked for, or after so many seconds."""
        self._patience_s = patience_s
        self._worker.start()

    def close(self) -> None:
        self._closing.set()
        self._asked.set()
        if self._worker.is_alive():
            self._db.interrupt()
            self._worker.join(timeout=10)
        self._db.close()
        self._folder.cleanup()

    @contextmanager
    def _connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection of its own for each question, since they come from several threads."""
        with self._db.cursor() as db:
            db.execute("SET enable_progress_bar = false")  # it would be drawn over the command's output
            yield db

    # ---- building -----------------------------------------------------------------------------------------------------

    @property
    def _file(self) -> str:
        return f"read_parquet({_quoted(str(self.scored.parquet))}, file_row_number=true, hive_partitioning=false)"

    def _build(self) -> None:
        ids = self.scored.label_ids
        bits = " | ".join(f"(CASE WHEN list_contains(labels, {_quoted(i)}) THEN {1 << n} ELSE 0 END)::BIGINT" for n, i in enumerate(ids))
        columns = ['"' + f"p_{i}".replace('"', '""') + '"' for i in ids]
        bits = f"CASE WHEN len(labels) = 0 THEN 0 ELSE {bits} END"
        # How far a probability is from its threshold, as a share of the way to 0 or 1: labels with different thresholds compare.
        past = [f"({c} - {t}) / {1 - t}" for c, t in zip(columns, self.scored.thresholds, strict=True)]
        apart = [
            f"CASE WHEN {c} >= {t} THEN {p} ELSE ({t} - {c}) / {t} END"
            for c, t, p in zip(columns, self.scored.thresholds, past, strict=True)
        ]
        self._db.execute(
            f"CREATE TABLE posts AS SELECT file_row_number::INTEGER AS row, {bits} AS bits, stance, language, channel, "  # noqa: S608
            f"epoch_us(published_at) AS published, views, NULL::INTEGER AS cluster, 1::INTEGER AS size, "
            f"views AS seen, {', '.join(f'{c} AS p{n}' for n, c in enumerate(columns))}, "
            f"CASE WHEN {columns[0]} IS NOT NULL THEN least({', '.join(apart)}) END::FLOAT AS uncertain, "
            f"greatest({', '.join(past)})::FLOAT AS confident, greatest({', '.join(columns)})::FLOAT AS top FROM {self._file}"
        )
        self._db.execute(
            "CREATE TABLE standing(row INTEGER, reviewer VARCHAR, verdict VARCHAR, said VARCHAR, settles BOOLEAN, noted BOOLEAN, "
            "seen BOOLEAN)"
        )
        self.n_posts, self.n_flagged = self._one("SELECT count(*), count(*) FILTER (bits <> 0) FROM posts")

    def _prepare(self) -> None:
        """In the background: texts for search, clusters."""
        self._asked.wait(self._patience_s)
        try:
            with self._connection() as db:
                db.execute(f"ATTACH {_quoted(str(Path(self._folder.name) / 'texts.duckdb'))} AS disk")
                # Searched often and thrown away at the end: decompressing would cost more than the disk.
                db.execute("SET force_compression = 'uncompressed'")
                for name, which in (("flagged", "len(labels) > 0"), ("all", "1 = 1")):
                    if self._closing.is_set():
                        return
                    db.execute(
                        f"CREATE TABLE disk.texts_{name} AS SELECT file_row_number::INTEGER AS row, "  # noqa: S608
                        f"left(text, {SNIPPET_CHARACTERS}) AS snippet, lower(text) AS folded FROM {self._file} WHERE {which}"
                    )
                    self._texts = "flagged" if name == "flagged" else "all"
                    if name == "flagged":
                        self._cluster(db)
                        self.clusters_ready.set()
            self.texts_ready.set()
        except Exception as error:
            if not self._closing.is_set():
                self.failure = str(error)
                raise

    def _cluster(self, db: duckdb.DuckDBPyConnection) -> None:
        numbers = array("i")

        def texts() -> Iterator[str]:
            asked = db.execute(f"SELECT file_row_number, text FROM {self._file} WHERE len(labels) > 0 ORDER BY 1")  # noqa: S608
            while part := asked.fetchmany(_TEXTS_AT_ONCE):
                for row, text in part:
                    numbers.append(row)
                    yield text or ""

        firsts = clusters.assign(texts())
        rows = np.frombuffer(numbers, np.int32) if numbers else np.empty(0, np.int32)
        found = {"row": rows, "c": rows[np.array(firsts, np.int64)]}
        db.register("found", found)
        # Its name is the row of the post that came first in time, not first in the file.
        db.execute(
            "UPDATE posts SET cluster = g.cluster, size = g.size, seen = g.seen FROM (SELECT row, first(row) OVER w AS cluster, "
            "count(*) OVER w AS size, sum(views) OVER w AS seen FROM found JOIN posts USING (row) "
            "WINDOW w AS (PARTITION BY c ORDER BY published NULLS LAST, row ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)) g "
            "WHERE posts.row = g.row AND g.size > 1"
        )
        db.unregister("found")
        # What was decided before this, here or in an earlier session, was written without knowing of copies.
        self.store.recluster(self.scored.digest, dict(db.execute("SELECT row, cluster FROM posts WHERE cluster IS NOT NULL").fetchall()))

    def mirror(self) -> None:
        """Take over what changed in the store, by this or another process."""
        # The store is read before this lock is taken, never under it: two threads that take two locks in two orders wait for ever.
        while True:
            since = self._last_event
            last = self.store.last_event()
            if last == since:
                return
            changes = self.store.changes(self.scored.digest, since)
            with self._lock:
                if self._last_event == since:  # else another thread was faster, and what was read is old
                    self._take_over(changes)
                    self._last_event = last
                    return

    def _take_over(self, changes: Sequence[Change]) -> None:
        if not changes:
            return
        stands = [c.standing for c in changes if c.standing is not None]
        with self._connection() as db:
            db.execute("BEGIN")
            old = {"row": np.array([c.row for c in changes], np.int32), "reviewer": np.array([c.reviewer for c in changes], object)}
            db.register("old", old)
            db.execute("DELETE FROM standing USING old WHERE standing.row = old.row AND standing.reviewer = old.reviewer")
            if stands:
                new = {
                    "row": np.array([s.row for s in stands], np.int32),
                    "reviewer": np.array([s.reviewer for s in stands], object),
                    "verdict": np.array([s.choice.verdict for s in stands], object),
                    "said": np.array([f"{','.join(sorted(s.choice.labels))}|{s.choice.stance or ''}" for s in stands], object),
                    "settles": np.array([s.choice.settles for s in stands]),
                    "seen": np.array([s.choice.seen for s in stands]),
                    "noted": np.array([bool(s.choice.note) for s in stands]),
                }
                db.register("new", new)
                db.execute("INSERT INTO standing SELECT row, reviewer, verdict, said, settles, noted, seen FROM new")
            db.execute("COMMIT")

    # ---- asking -------------------------------------------------------------------------------------------------------

    def snapshot(self, wanted: Filter, reviewer: str) -> Snapshot:
        """The posts of a filter, in order, kept until `MAX_SNAPSHOTS` newer ones were made."""
        self.mirror()
        where, values = self._where(wanted, reviewer)
        passing = f"FROM posts p WHERE {where}"
        plain = f"SELECT row, ({ORDER[wanted.sort]})::DOUBLE AS k, 1 AS n {passing}"
        queries = [plain] if wanted.copies else [
            f"{plain} AND cluster IS NULL",
            f"SELECT g.s.row AS row, g.s.k AS k, n FROM (SELECT min_by(struct_pack(row, k := ({ORDER[wanted.sort]})::DOUBLE), "  # noqa: S608
            f"(row <> cluster, row)) AS s, count(*) AS n {passing} AND cluster IS NOT NULL GROUP BY cluster) g",
        ]  # fmt: skip
        with self._connection() as db:
            parts = [db.execute(query, values).fetchnumpy() for query in queries]
        found = {
            name: np.concatenate([np.ma.filled(part[name].astype(np.float64), np.nan) for part in parts]) for name in ("row", "k", "n")
        }
        # Unknown (NaN) comes last; equal ones in the file's order.
        keys, rows = found["k"], found["row"].astype(np.int64)
        order = np.lexsort((rows, keys)) if len(rows) else slice(0)
        with self._lock:
            self._n_snapshots += 1
            snapshot = Snapshot(self._n_snapshots, wanted, rows[order], int(np.sum(found["n"])))
            self._snapshots[snapshot.number] = snapshot
            while len(self._snapshots) > MAX_SNAPSHOTS:
                self._snapshots.popitem(last=False)
        return snapshot

    def kept(self, number: int) -> Snapshot | None:
        """A snapshot by its number, None where it is no longer kept."""
        with self._lock:
            if number in self._snapshots:
                self._snapshots.move_to_end(number)
            return self._snapshots.get(number)

    def label_counts(self, wanted: Filter, reviewer: str) -> dict[str, tuple[int, int]]:
        """Of each label, "flagged" and "none": posts that pass the filter (but for its label, status and probability), and how many
        of them the reviewer has reviewed. A repost counts as a post."""
        self.mirror()
        broad = Filter(
            **{f.name: getattr(wanted, f.name) for f in fields(Filter)} | {"label": "", "status": "any", "low": 0.0, "high": 1.0}
        )
        asked = (dataclasses.replace(broad, sort="file", copies=False), reviewer, self._last_event)
        if self._counted is not None and self._counted[0] == asked:  # another order or page of the same posts
            return self._counted[1]
        where, values = self._where(broad, reviewer)
        names = [*self.scored.label_ids, "flagged", NO_LABEL]
        tests = [*(f"bits & {1 << n} <> 0" for n in range(len(self.scored.labels))), "bits <> 0", "bits = 0"]
        counts = ", ".join(f"count(*) FILTER ({t}), count(*) FILTER ({t} AND mine)" for t in tests)
        found = self._one(
            f"SELECT {counts} FROM (SELECT p.bits, p.row IN (SELECT row FROM standing WHERE reviewer = ? AND verdict IN {REVIEWED_SQL}) "  # noqa: S608
            f"AS mine FROM posts p WHERE {where})",
            [reviewer, *values],
        )
        counts_by_name = {name: (found[2 * n], found[2 * n + 1]) for n, name in enumerate(names)}
        self._counted = (asked, counts_by_name)
        self._asked.set()
        return counts_by_name

    def lines(self, rows: Sequence[int]) -> list[dict[str, object]]:
        """What the list shows of these posts, in their order."""
        if not rows:
            return []
        chosen = ", ".join(str(int(row)) for row in rows)
        with self._connection() as db:
            texts = self._snippets(db, chosen)
            found = db.execute(
                "SELECT p.row, bits, stance, channel, published, seen, top, size "  # noqa: S608
                f"FROM posts p WHERE p.row IN ({chosen})"
            ).fetchall()
        by_row = {
            row: {
                "row": row, "labels": self._ids(bits), "stance": stance, "channel": channel, "published": published, "views": views,
                "top": top, "size": size, "snippet": texts.get(row, ""),
            }
            for row, bits, stance, channel, published, views, top, size in found
        }  # fmt: skip
        return [by_row[row] for row in rows if row in by_row]

    def _snippets(self, db: duckdb.DuckDBPyConnection, chosen: str) -> dict[int, str]:
        texts = {}
        if self._texts != "file":
            texts = dict(db.execute(f"SELECT row, snippet FROM disk.texts_{self._texts} WHERE row IN ({chosen})").fetchall())  # noqa: S608
        if missing := ", ".join(row for row in chosen.split(", ") if int(row) not in texts):
            query = f"SELECT file_row_number, left(text, {SNIPPET_CHARACTERS}) FROM {self._file} WHERE file_row_number IN ({missing})"  # noqa: S608
            texts |= dict(db.execute(query).fetchall())
        return texts

    def posts(self, rows: Sequence[int]) -> list[dict[str, object]]:
        """All columns of these posts, in the file's order; `row` is added, `published_at` is microseconds since 1970, UTC."""
        wanted = sorted({int(row) for row in rows})
        if len(wanted) > MAX_POSTS_KEPT:
            return self._read_posts(wanted)
        with self._lock:
            kept = {row: self._posts[row] for row in wanted if row in self._posts}
        read = {int(str(post["row"])): post for post in self._read_posts([row for row in wanted if row not in kept])}
        with self._lock:
            self._posts.update(read)
            while len(self._posts) > MAX_POSTS_KEPT:
                del self._posts[next(iter(self._posts))]
        found = kept | read
        return [found[row] for row in wanted if row in found]

    def _read_posts(self, rows: Sequence[int]) -> list[dict[str, object]]:
        if not rows:
            return []
        chosen = ", ".join(map(str, rows))
        with self._connection() as db:
            found = db.execute(
                "SELECT * EXCLUDE (file_row_number) REPLACE (epoch_us(published_at) AS published_at), file_row_number AS row "  # noqa: S608
                f"FROM {self._file} WHERE file_row_number IN ({chosen}) ORDER BY file_row_number"
            )
            names = [column[0] for column in found.description or ()]
            return [dict(zip(names, values, strict=True)) for values in found.fetchall()]

    def cluster_of(self, row: int) -> list[tuple[int, str | None, int | None, int | None, int]]:
        """The post's repost cluster, the first in time first: row, channel, time, views and label bits of each; none without copies."""
        with self._connection() as db:
            return db.execute(
                "SELECT row, channel, published, views, bits FROM posts WHERE cluster = (SELECT cluster FROM posts WHERE row = ?) "
                "ORDER BY published NULLS LAST, row",
                [int(row)],
            ).fetchall()

    def with_copies(self, rows: Sequence[int]) -> dict[int, int]:
        """These posts and all reposts of them: row -> row of the first of its cluster."""
        with self._connection() as db:
            db.register("chosen", {"row": np.array(rows, np.int32)})
            found = db.execute(
                "SELECT row, coalesce(cluster, row) FROM posts WHERE row IN (SELECT row FROM chosen) OR cluster IN "
                "(SELECT cluster FROM posts SEMI JOIN chosen USING (row) WHERE cluster IS NOT NULL) ORDER BY 1"
            ).fetchall()
        return dict(found)

    def labels_of(self, rows: Sequence[int]) -> dict[str, int]:
        """How many of these posts have each label, and "none"."""
        tests = [*(f"bits & {1 << n} <> 0" for n in range(len(self.scored.labels))), "bits = 0"]
        with self._connection() as db:
            db.register("chosen", {"row": np.array(rows, np.int32)})
            counts = ", ".join(f"count(*) FILTER ({test})" for test in tests)
            found = db.execute(f"SELECT {counts} FROM posts SEMI JOIN chosen USING (row)").fetchone()  # noqa: S608
        return {name: n for name, n in zip((*self.scored.label_ids, NO_LABEL), found or (), strict=True) if n}

    def facets(self) -> dict[str, list[tuple[str, int]]]:
        """Values to choose from: languages, and the 300 channels with the most flagged posts."""
        with self._connection() as db:
            languages = db.execute(
                "SELECT language, count(*) FROM posts WHERE language IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1"
            ).fetchall()
            channels = db.execute(
                "SELECT channel, count(*) FILTER (bits <> 0) FROM posts WHERE channel IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 300"
            ).fetchall()
        return {"languages": languages, "channels": channels}

    def _where(self, wanted: Filter, reviewer: str) -> tuple[str, list[object]]:
        return conditions(wanted, self.scored.label_ids, reviewer, self._hits(wanted.search) if wanted.search.strip() else None)

    def _hits(self, search: str) -> str:
        """The table of rows whose text has every word of the search, in any case; kept, because filters change more often than searches."""
        words = tuple(sorted(set(search.lower().split())))
        with self._lock:
            if words not in self._searches:
                if self._texts == "all":
                    tests, values = " AND ".join(["contains(folded, ?)"] * len(words)), list(words)
                    source = f"SELECT row FROM disk.texts_all WHERE {tests}"  # noqa: S608
                else:
                    tests, values = " AND ".join(["regexp_matches(text, ?)"] * len(words)), ["(?i)" + re.escape(word) for word in words]
                    source = f"SELECT file_row_number::INTEGER AS row FROM {self._file} WHERE {tests}"  # noqa: S608
                self._n_searches += 1
                name = f"hits_{self._n_searches}"
                with self._connection() as db:
                    db.execute(f"CREATE TABLE {name} AS {source}", values)
                    self._searches[words] = name
                    if len(self._searches) > MAX_SNAPSHOTS:
                        _, oldest = self._searches.popitem(last=False)
                        db.execute(f"DROP TABLE {oldest}")
            self._searches.move_to_end(words)
            return self._searches[words]

    def _one(self, query: str, values: Sequence[object] = ()) -> tuple[int, ...]:
        with self._connection() as db:
            found = db.execute(query, list(values)).fetchone()
        assert found is not None
        return found

    def _ids(self, bits: int) -> list[str]:
        return [i for n, i in enumerate(self.scored.label_ids) if bits >> n & 1]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
