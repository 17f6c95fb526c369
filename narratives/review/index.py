"""Questions to a scored file: which posts pass a filter, in which order, how many of each label, and one post whole.

The numbers of every post (labels as bits, probabilities, time, views) are a DuckDB table made when the page opens, some 100 bytes a
post; what is computed from probabilities is a view over it, so that opening does not wait for it. Texts stay on disk (`texts.py`). In the
background their first lines are copied for the list, the flagged posts are clustered into reposts, and the words of all are numbered for
search (`words.py`).
"""

from __future__ import annotations

import dataclasses
import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import duckdb
import numpy as np
import numpy.typing as npt

from narratives.errors import InputError
from narratives.records import probability_column
from narratives.review.carry import carry_over
from narratives.review.database import Database, quoted
from narratives.review.filters import NO_LABEL, ORDER, REVIEWED_SQL, Filter, conditions
from narratives.review.rows import OpenedOutput
from narratives.review.store import Change, Store
from narratives.review.texts import Texts

Rows = npt.NDArray[np.int64]
MAX_SNAPSHOTS = 24
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

    def __init__(self, scored: OpenedOutput, store: Store) -> None:
        self.scored, self.store = scored, store
        self._database = Database(scored.parquet)
        self._connection = self._database.connection
        self._texts = Texts(self._database)
        self._lock = threading.RLock()
        self._snapshots: OrderedDict[int, Snapshot] = OrderedDict()
        self._n_snapshots = 0
        self._last_event = 0
        self._closing, self._asked = threading.Event(), threading.Event()
        self._counted: tuple[object, dict[str, tuple[int, int]]] | None = None
        self.texts_ready = threading.Event()
        self.clusters_ready = threading.Event()
        self.failure: str | None = None
        try:
            self._build()
            self.carried = carry_over(store, scored, self._database, self._texts)
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
            self._database.interrupt()
            self._worker.join(timeout=10)
        self._database.close()

    # ---- building -----------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        ids = self.scored.label_ids
        bits = " | ".join(f"(CASE WHEN list_contains(labels, {quoted(i)}) THEN {1 << n} ELSE 0 END)::BIGINT" for n, i in enumerate(ids))
        columns = ['"' + probability_column(i).replace('"', '""') + '"' for i in ids]
        bits = f"CASE WHEN len(labels) = 0 THEN 0 ELSE {bits} END"
        # How far a probability is from its threshold, as a share of the way to 0 or 1: labels with different thresholds compare.
        numbered = [f"p{n}" for n in range(len(ids))]
        past = [f"({p} - {t}) / {1 - t}" for p, t in zip(numbered, self.scored.thresholds, strict=True)]
        apart = [
            f"CASE WHEN {p} >= {t} THEN {above} ELSE ({t} - {p}) / {t} END"
            for p, t, above in zip(numbered, self.scored.thresholds, past, strict=True)
        ]
        with self._connection() as db:
            db.execute(
                f"CREATE TABLE numbers AS SELECT file_row_number::INTEGER AS row, {bits} AS bits, stance, language, channel, "  # noqa: S608
                "epoch_us(published_at) AS published, views, NULL::INTEGER AS cluster, 1::INTEGER AS size, views AS seen, "
                f"{', '.join(f'{c} AS p{n}' for n, c in enumerate(columns))} FROM {self._database.file}"
            )
            db.execute(
                f"CREATE VIEW posts AS SELECT *, CASE WHEN p0 IS NOT NULL THEN least({', '.join(apart)}) END::FLOAT AS uncertain, "  # noqa: S608
                f"greatest({', '.join(past)})::FLOAT AS confident, greatest({', '.join(numbered)})::FLOAT AS top FROM numbers"
            )
            db.execute(
                "CREATE TABLE standing(row INTEGER, reviewer VARCHAR, verdict VARCHAR, said VARCHAR, settles BOOLEAN, noted BOOLEAN, "
                "seen BOOLEAN)"
            )
        self.n_posts, self.n_flagged = self._one("SELECT count(*), count(*) FILTER (bits <> 0) FROM posts")

    def _prepare(self) -> None:
        """In the background: first lines of flagged posts, their clusters, first lines of all posts, the words that search looks into."""
        self._asked.wait(self._patience_s)
        try:
            with self._connection() as db:
                self._texts.attach(db)
                self._texts.make_snippets(db, "flagged")
                if self._closing.is_set():
                    return
                self._cluster(db)
                self.clusters_ready.set()
                if self._closing.is_set():
                    return
                self._texts.make_snippets(db, "all")
                self._texts.make_words(db, self._closing)
            self.texts_ready.set()
        except Exception as error:
            if not self._closing.is_set():
                self.failure = str(error)
                raise

    def _cluster(self, db: duckdb.DuckDBPyConnection) -> None:
        from narratives import clusters  # the page opens without it

        numbers = array("i")

        def texts() -> Iterator[str]:
            asked = db.execute(f"SELECT file_row_number, text FROM {self._database.file} WHERE len(labels) > 0 ORDER BY 1")  # noqa: S608
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
            "UPDATE numbers SET cluster = g.cluster, size = g.size, seen = g.seen FROM (SELECT row, first(row) OVER w AS cluster, "
            "count(*) OVER w AS size, sum(views) OVER w AS seen FROM found JOIN posts USING (row) "
            "WINDOW w AS (PARTITION BY c ORDER BY published NULLS LAST, row ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)) g "
            "WHERE numbers.row = g.row AND g.size > 1"
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

    @property
    def snippets_ready(self) -> bool:
        """Whether `lines` have their texts."""
        return self._texts.snippets_made or self.failure is not None

    def lines(self, rows: Sequence[int], *, wait: bool = True) -> list[dict[str, object]]:
        """What the list shows of these posts, in their order. Without `wait`, snippets are None until `snippets_ready`."""
        if not rows:
            return []
        chosen = ", ".join(str(int(row)) for row in rows)
        with self._connection() as db:
            ready = wait or self.snippets_ready
            texts = self._texts.snippets(db, rows, from_file=ready)
            found = db.execute(
                "SELECT p.row, bits, stance, channel, published, seen, top, size "  # noqa: S608
                f"FROM posts p WHERE p.row IN ({chosen})"
            ).fetchall()
        by_row = {
            row: {
                "row": row, "labels": self._ids(bits), "stance": stance, "channel": channel, "published": published, "views": views,
                "top": top, "size": size, "snippet": texts.get(row, "" if ready else None),
            }
            for row, bits, stance, channel, published, views, top, size in found
        }  # fmt: skip
        return [by_row[row] for row in rows if row in by_row]

    def posts(self, rows: Sequence[int]) -> list[dict[str, object]]:
        """All columns of these posts, in the file's order; `row` is added, `published_at` is microseconds since 1970, UTC."""
        return self._texts.posts(rows)

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
        return conditions(wanted, self.scored.label_ids, reviewer, self._texts.hits(wanted.search) if wanted.search.strip() else None)

    def _one(self, query: str, values: Sequence[object] = ()) -> tuple[int, ...]:
        with self._connection() as db:
            found = db.execute(query, list(values)).fetchone()
        assert found is not None
        return found

    def _ids(self, bits: int) -> list[str]:
        return [i for n, i in enumerate(self.scored.label_ids) if bits >> n & 1]
