"""Decisions, in one SQLite file beside the output. Nothing is overwritten: undo is a row too.

Each press of a key is one event (a decision on a post and its copies, a bulk decision, an undo), written in a transaction
of its own before the page hears of it: write-ahead log, synced to disk. What stands for a post and a reviewer is the decision of their
last event that is not undone; `standing` holds it, kept in the same transaction. The file has the texts it speaks of,
so that it can be exported, or moved, without the output.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Literal

from narratives.errors import InputError, NarrativesError
from narratives.records import Stance, is_place_id

Verdict = Literal["accept", "reject", "correct", "skip", "note"]
REVIEWED: tuple[Verdict, ...] = ("accept", "reject", "correct")
"""Verdicts after which a post counts as reviewed; skip and note leave it open."""

FORMAT = 1
_ITEMS_AT_ONCE = 2000
_SCHEMA = """
CREATE TABLE items(
    item INTEGER PRIMARY KEY, output TEXT NOT NULL, row INTEGER NOT NULL, post_id TEXT NOT NULL, text TEXT NOT NULL,
    language TEXT, channel TEXT, published_at TEXT, url TEXT, predicted TEXT NOT NULL, predicted_stance TEXT,
    cluster INTEGER NOT NULL, UNIQUE(output, row));
CREATE TABLE events(
    event INTEGER PRIMARY KEY AUTOINCREMENT, output TEXT NOT NULL, reviewer TEXT NOT NULL,
    kind TEXT NOT NULL, target INTEGER, undone_by INTEGER, at TEXT NOT NULL);
CREATE TABLE decisions(
    event INTEGER NOT NULL, item INTEGER NOT NULL, verdict TEXT NOT NULL, labels TEXT NOT NULL, stance TEXT,
    note TEXT NOT NULL, seen INTEGER NOT NULL, settles INTEGER NOT NULL, PRIMARY KEY(event, item)) WITHOUT ROWID;
CREATE TABLE standing(item INTEGER NOT NULL, reviewer TEXT NOT NULL, event INTEGER NOT NULL, PRIMARY KEY(item, reviewer)) WITHOUT ROWID;
CREATE INDEX decisions_of_item ON decisions(item, event);
CREATE INDEX events_of_reviewer ON events(output, reviewer, event) WHERE undone_by IS NULL AND kind <> 'undo';
"""
# What `carry.py` took over from other outputs: which item is which of theirs (or why it is none), and which event repeats which.
_CARRY_SCHEMA = """
CREATE TABLE IF NOT EXISTS matches(
    output TEXT NOT NULL, item INTEGER NOT NULL, found INTEGER, why TEXT, PRIMARY KEY(output, item)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS carried(output TEXT NOT NULL, source INTEGER NOT NULL, event INTEGER, PRIMARY KEY(output, source)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS matches_by_found ON matches(found);
CREATE INDEX IF NOT EXISTS carried_by_event ON carried(event);
"""


@dataclass(frozen=True, slots=True)
class Item:
    """A post that was decided on. `cluster` is the row of the first post of its repost cluster, its own row where it has no copies."""

    row: int
    post_id: str
    text: str
    language: str | None
    channel: str | None
    published_at: str | None
    """ISO 8601, UTC."""
    url: str | None
    predicted: tuple[str, ...]
    predicted_stance: str | None
    cluster: int


@dataclass(frozen=True, slots=True)
class Choice:
    """What a reviewer chose for one post. `seen`: they had this very post before them; False for its copies and in bulk.

    `settles`: chosen with sight of others' decisions, to end a disagreement.
    """

    verdict: Verdict
    labels: tuple[str, ...]
    stance: Stance | None
    note: str = ""
    seen: bool = True
    settles: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """The decision of one reviewer that stands for one post."""

    row: int
    reviewer: str
    event: int
    at: datetime
    choice: Choice

    @property
    def reviewed(self) -> bool:
        return self.choice.verdict in REVIEWED


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a post for a reviewer; `standing` is None where nothing stands any more."""

    row: int
    reviewer: str
    standing: Standing | None


class Stale(NarrativesError):
    """The post was decided on elsewhere (another tab) since the page showed it; `standing` is what stands now."""

    def __init__(self, standing: Standing | None) -> None:
        self.standing = standing
        super().__init__("this post was decided on in another tab since it was shown here; look again")


class Store:
    """A file of decisions. May be used from several threads, and the file from several processes.

    Raises:
        InputError: the file is no decisions file, or of a later version of this program.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.RLock()
        try:
            self._db = sqlite3.connect(self.path, timeout=10, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA trusted_schema=OFF")
            self._db.create_function("is_place_id", 1, is_place_id, deterministic=True)
            version = self._prepare()
        except sqlite3.DatabaseError as error:
            raise InputError(self.path, f"is no file of decisions ({error}); expected one that `narratives review` wrote") from error
        if version != FORMAT:
            raise InputError(
                self.path, f"has decisions of format {version}, expected {FORMAT}; use the version of narratives that wrote it"
            )

    def _prepare(self) -> int:
        with self.writing():
            version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
            tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if version == 0 and tables == 0:
                for statement in _SCHEMA.strip().split(";\n"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version={FORMAT}")
                version = FORMAT
            if version == FORMAT:
                for statement in _CARRY_SCHEMA.strip().split(";\n"):
                    self._db.execute(statement)
            return version

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The database, to ask it questions; for `carry.py`."""
        with self._lock:
            yield self._db

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The database in a transaction, which an exception takes back."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # SQLite may have rolled back by itself: a full disk
                    self._db.execute("ROLLBACK")
                raise

    # ---- writing ------------------------------------------------------------------------------------------------------

    def decide(
        self, output: str, reviewer: str, kind: str, choices: Iterable[tuple[Item, Choice]], *, expected: tuple[int, int] | None = None
    ) -> int:
        """Write one event: what a reviewer chose for these posts.

        Args:
            output: sha256 of the output file the rows are of.
            expected: (row, event) that stood when the page showed the post, event 0 for none; None: do not check.

        Returns:
            The event's number.

        Raises:
            Stale: another event stands for that row by now. Nothing is written.
        """
        # What comes is read before any lock is taken, and long lists of posts are put down in short transactions of their own: a post
        # that nobody decided on counts for nothing, and others may write between. The decision itself is then written whole.
        rest = iter(choices)
        part = list(islice(rest, _ITEMS_AT_ONCE))
        rows: list[tuple[object, ...]] = []
        while following := list(islice(rest, _ITEMS_AT_ONCE)):
            with self.writing():
                rows.extend(self._kept(output, part))
            part = following
        with self.writing():
            if expected is not None:
                stands = self._standing(output, "i.row = ? AND s.reviewer = ?", (expected[0], reviewer))
                if (stands[0].event if stands else 0) != expected[1]:
                    raise Stale(stands[0] if stands else None)
            event = self.add_event(output, reviewer, kind)
            rows.extend(self._kept(output, part))
            self.add_decisions(event, reviewer, rows)
            return event

    def add_decisions(self, event: int, reviewer: str, rows: Iterable[Sequence[object]]) -> None:
        """Within `writing`: rows of the table `decisions` without their event, which then stand."""
        self._db.executemany(f"INSERT INTO decisions VALUES ({event}, ?, ?, ?, ?, ?, ?, ?)", rows)  # noqa: S608
        self._db.execute(
            "INSERT OR REPLACE INTO standing SELECT item, ?, event FROM decisions WHERE event = ? ORDER BY item", (reviewer, event)
        )

    def _kept(self, output: str, choices: Iterable[tuple[Item, Choice]]) -> Iterator[tuple[object, ...]]:
        """Put down posts; what is to be written of each decision."""
        for item, c in choices:
            yield self.keep(output, item), c.verdict, json.dumps(c.labels), c.stance, c.note, c.seen, c.settles

    def add_event(self, output: str, reviewer: str, kind: str, target: int | None = None, at: str | None = None) -> int:
        """Within `writing`: a new event, by itself without decisions; its number. `at` is ISO 8601, now unless given."""
        values = (output, reviewer, kind, target, at or datetime.now(UTC).isoformat(timespec="milliseconds"))
        cursor = self._db.execute("INSERT INTO events(output, reviewer, kind, target, at) VALUES (?, ?, ?, ?, ?)", values)
        return int(cursor.lastrowid or 0)

    def keep(self, output: str, item: Item) -> int:
        """Within `writing`: put down a post, unless it is there already; its number."""
        known = self._db.execute("SELECT item FROM items WHERE output = ? AND row = ?", (output, item.row)).fetchone()
        if known:
            return int(known[0])
        cursor = self._db.execute(
            "INSERT INTO items(output, row, post_id, text, language, channel, published_at, url, predicted, predicted_stance, cluster) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (output, item.row, item.post_id, item.text, item.language, item.channel, item.published_at, item.url,
             json.dumps(item.predicted), item.predicted_stance, item.cluster),
        )  # fmt: skip
        return int(cursor.lastrowid or 0)

    def recluster(self, output: str, clusters: Mapping[int, int]) -> None:
        """Take over which reposts belong together: row -> row of the first of its cluster. Rows it does not name stay as they are."""
        with self._lock:
            known = self._db.execute("SELECT row, cluster FROM items WHERE output = ?", (output,)).fetchall()
        if changed := [(clusters[row], output, row) for row, cluster in known if clusters.get(row, cluster) != cluster]:
            with self.writing():
                self._db.executemany("UPDATE items SET cluster = ? WHERE output = ? AND row = ?", changed)

    def undo(self, output: str, reviewer: str) -> tuple[str, tuple[int, ...]] | None:
        """Take back the reviewer's last event that is not undone yet.

        Returns:
            Its kind and the rows it had decided, those before a person first; None where nothing is left to undo.
        """
        with self.writing():
            last = self._db.execute(
                "SELECT event, kind FROM events WHERE output = ? AND reviewer = ? AND undone_by IS NULL AND kind <> 'undo' "
                "ORDER BY event DESC LIMIT 1",
                (output, reviewer),
            ).fetchone()
            if last is None:
                return None
            event, kind = last
            self.take_back(output, reviewer, event)
            rows = self._db.execute(
                "SELECT i.row FROM decisions d JOIN items i USING (item) WHERE d.event = ? ORDER BY d.seen DESC, i.row LIMIT 1000", (event,)
            ).fetchall()
            return str(kind), tuple(int(row) for (row,) in rows)

    def take_back(self, output: str, reviewer: str, event: int) -> None:
        """Within `writing`: undo one event of the reviewer; what stood before it stands again."""
        undo = self.add_event(output, reviewer, "undo", event)
        self._db.execute("UPDATE events SET undone_by = ? WHERE event = ?", (undo, event))
        of_event = "(SELECT item FROM decisions WHERE event = ?)"
        self._db.execute(f"DELETE FROM standing WHERE reviewer = ? AND item IN {of_event}", (reviewer, event))  # noqa: S608
        self._db.execute(
            "INSERT INTO standing SELECT d.item, e.reviewer, max(d.event) FROM decisions d JOIN events e USING (event) "  # noqa: S608
            f"WHERE d.item IN {of_event} AND e.reviewer = ? AND e.undone_by IS NULL GROUP BY d.item",
            (event, reviewer),
        )

    # ---- reading ------------------------------------------------------------------------------------------------------

    def last_event(self) -> int:
        with self._lock:
            return int(self._db.execute("SELECT coalesce(max(event), 0) FROM events").fetchone()[0])

    def n_undoable(self, output: str, reviewer: str) -> int:
        """How many events of the reviewer can be undone."""
        query = "SELECT count(*) FROM events WHERE output = ? AND reviewer = ? AND undone_by IS NULL AND kind <> 'undo'"
        with self._lock:
            return int(self._db.execute(query, (output, reviewer)).fetchone()[0])

    def standing(self, output: str, row: int | None = None) -> list[Standing]:
        """What stands, for one post or for all of an output, by row and reviewer."""
        return self._standing(output, "1" if row is None else "i.row = ?", () if row is None else (row,))

    def standing_of(self, output: str, reviewer: str, rows: Sequence[int]) -> dict[int, Standing]:
        """What stands for one reviewer, of some posts, by row."""
        chosen = ", ".join(str(int(row)) for row in rows)
        return {s.row: s for s in self._standing(output, f"s.reviewer = ? AND i.row IN ({chosen})", (reviewer,))}

    def changes(self, output: str, since: int) -> list[Change]:
        """What events after `since` changed, in this or another process: one entry a post and reviewer."""
        with self._lock:
            touched_items = (
                "FROM events e JOIN decisions d ON d.event = coalesce(e.target, e.event) JOIN items i USING (item) "
                "WHERE e.event > ? AND e.output = ?"
            )
            touched = self._db.execute(f"SELECT DISTINCT i.row, e.reviewer {touched_items}", (since, output)).fetchall()
            if not touched:
                return []
            stands = {(s.row, s.reviewer): s for s in self._standing(output, f"i.item IN (SELECT i.item {touched_items})", (since, output))}
        return [Change(row, reviewer, stands.get((row, reviewer))) for row, reviewer in touched]

    def _standing(self, output: str, where: str, values: Sequence[object]) -> list[Standing]:
        query = (
            "SELECT i.row, s.reviewer, s.event, e.at, d.verdict, d.labels, d.stance, d.note, d.seen, d.settles FROM items i "  # noqa: S608
            "JOIN standing s USING (item) JOIN events e USING (event) JOIN decisions d ON d.event = s.event AND d.item = s.item "
            f"WHERE i.output = ? AND {where} ORDER BY i.row, s.reviewer"
        )
        with self._lock:
            rows = self._db.execute(query, (output, *values)).fetchall()
        return [
            Standing(
                row, who, event, datetime.fromisoformat(at), Choice(verdict, tuple(json.loads(ids)), stance, note, bool(seen), bool(last))
            )
            for row, who, event, at, verdict, ids, stance, note, seen, last in rows
        ]

    def outputs(self) -> tuple[str, ...]:
        """Digests of the outputs that posts of this file are from."""
        with self._lock:
            return tuple(digest for (digest,) in self._db.execute("SELECT DISTINCT output FROM items ORDER BY output"))

    def readings(self, output: str) -> list[Standing]:
        """The last decision of each reviewer on each post they had before them, but for those that settled a disagreement: by row."""
        mine = "row_number() OVER (PARTITION BY d.item, e.reviewer ORDER BY e.event DESC)"
        query = (
            f"SELECT row, reviewer, event, at, verdict, labels, stance FROM (SELECT i.row, e.reviewer, e.event, e.at, d.verdict, d.labels, "  # noqa: S608
            f"d.stance, {mine} AS n FROM items i JOIN decisions d USING (item) JOIN events e USING (event) WHERE i.output = ? "
            "AND e.undone_by IS NULL AND d.seen AND NOT d.settles "
            "AND d.verdict IN ('accept', 'reject', 'correct')) WHERE n = 1 ORDER BY row, reviewer"
        )
        with self._lock:
            rows = self._db.execute(query, (output,)).fetchall()
        return [
            Standing(row, who, event, datetime.fromisoformat(at), Choice(verdict, tuple(json.loads(ids)), stance))
            for row, who, event, at, verdict, ids, stance in rows
        ]

    def items(self, output: str) -> dict[int, Item]:
        """Every post of an output that was ever decided on, by row, without its text and address: for counting."""
        return {item.row: item for item in self._items("output = ?", (output,), "''", "NULL")}

    def item(self, output: str, row: int) -> Item | None:
        """One post whole; None where nobody decided on it."""
        return next(iter(self._items("output = ? AND row = ?", (output, row))), None)

    def _items(self, where: str, values: Sequence[object], text: str = "text", url: str = "url") -> list[Item]:
        query = (
            f"SELECT row, post_id, {text}, language, channel, published_at, {url}, predicted, predicted_stance, cluster FROM items "  # noqa: S608
            f"WHERE {where} ORDER BY row"
        )
        with self._lock:
            rows = self._db.execute(query, values).fetchall()
        return [
            Item(row, post_id, text, language, channel, at, url, tuple(json.loads(predicted)), stance, cluster)
            for row, post_id, text, language, channel, at, url, predicted, stance, cluster in rows
        ]

    def versions(self, output: str) -> dict[int, tuple[bytes, int]]:
        """Of each decided post, by row: what is the same in another version of the file, and the event that last changed it.

        The same are channel, text, and the id where it has one of its own. A post on which nothing stands counts only where decisions were
        carried to it and taken back.
        """
        carried = "EXISTS (SELECT 1 FROM matches m WHERE m.found = i.item)"
        counts = "e.undone_by IS NULL AND d.verdict IN ('accept', 'reject', 'correct')"
        query = (
            "SELECT i.row, i.channel, CASE WHEN NOT is_place_id(i.post_id) THEN i.post_id END, i.text, "  # noqa: S608
            f"max(CASE WHEN {carried} THEN max(e.event, coalesce(e.undone_by, 0)) WHEN {counts} THEN e.event ELSE 0 END) "
            "FROM items i JOIN decisions d USING (item) JOIN events e USING (event) "
            f"WHERE i.output = ? AND ({carried} OR i.item IN (SELECT item FROM standing)) GROUP BY i.item"
        )
        with self._lock:
            return {
                row: (hashlib.blake2b(json.dumps([channel, post_id, text]).encode(), digest_size=16).digest(), last)
                for row, channel, post_id, text, last in self._db.execute(query, (output,))
            }
