"""Decisions, in one SQLite file beside the output. Nothing is overwritten: undo is a row too.

Each press of a key is one event (a decision on a post and its copies, a bulk decision, an undo), written in a transaction
of its own before the page hears of it: write-ahead log, synced to disk. What stands for a post and a reviewer is the decision of their
last event that is not undone; `standing` holds it, kept in the same transaction. The file has the texts it speaks of,
so that it can be exported, or moved, without the output.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from narratives.errors import InputError, NarrativesError
from narratives.records import Stance

Verdict = Literal["accept", "reject", "correct", "skip", "note"]
REVIEWED: tuple[Verdict, ...] = ("accept", "reject", "correct")
"""Verdicts after which a post counts as reviewed; skip and note leave it open."""

FORMAT = 1
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
            version = self._prepare()
        except sqlite3.DatabaseError as error:
            raise InputError(self.path, f"is no file of decisions ({error}); expected one that `narratives review` wrote") from error
        if version != FORMAT:
            raise InputError(
                self.path, f"has decisions of format {version}, expected {FORMAT}; use the version of narratives that wrote it"
            )

    def _prepare(self) -> int:
        with self._write():
            version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
            tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if version == 0 and tables == 0:
                for statement in _SCHEMA.strip().split(";\n"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version={FORMAT}")
                version = FORMAT
            return version

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def _write(self) -> Iterator[None]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

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
        with self._write():
            if expected is not None:
                stands = self._standing(output, "i.row = ? AND s.reviewer = ?", (expected[0], reviewer))
                if (stands[0].event if stands else 0) != expected[1]:
                    raise Stale(stands[0] if stands else None)
            event = self._event(output, reviewer, kind)
            for item, choice in choices:
                number = self._item(output, item)
                self._db.execute(
                    "INSERT INTO decisions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (event, number, choice.verdict, json.dumps(choice.labels), choice.stance, choice.note, choice.seen, choice.settles),
                )
                self._db.execute("INSERT OR REPLACE INTO standing VALUES (?, ?, ?)", (number, reviewer, event))
            return event

    def _event(self, output: str, reviewer: str, kind: str, target: int | None = None) -> int:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        values = (output, reviewer, kind, target, at)
        cursor = self._db.execute("INSERT INTO events(output, reviewer, kind, target, at) VALUES (?, ?, ?, ?, ?)", values)
        return int(cursor.lastrowid or 0)

    def _item(self, output: str, item: Item) -> int:
        known = self._db.execute("SELECT item, cluster FROM items WHERE output = ? AND row = ?", (output, item.row)).fetchone()
        if known:
            if known[1] != item.cluster:
                self._db.execute("UPDATE items SET cluster = ? WHERE item = ?", (item.cluster, known[0]))
            return int(known[0])
        cursor = self._db.execute(
            "INSERT INTO items(output, row, post_id, text, language, channel, published_at, url, predicted, predicted_stance, cluster) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (output, item.row, item.post_id, item.text, item.language, item.channel, item.published_at, item.url,
             json.dumps(item.predicted), item.predicted_stance, item.cluster),
        )  # fmt: skip
        return int(cursor.lastrowid or 0)

    def undo(self, output: str, reviewer: str) -> tuple[str, tuple[int, ...]] | None:
        """Take back the reviewer's last event that is not undone yet.

        Returns:
            Its kind and the rows it had decided, those before a person first; None where nothing is left to undo.
        """
        with self._write():
            last = self._db.execute(
                "SELECT event, kind FROM events WHERE output = ? AND reviewer = ? AND undone_by IS NULL AND kind <> 'undo' "
                "ORDER BY event DESC LIMIT 1",
                (output, reviewer),
            ).fetchone()
            if last is None:
                return None
            event, kind = last
            undo = self._event(output, reviewer, "undo", event)
            self._db.execute("UPDATE events SET undone_by = ? WHERE event = ?", (undo, event))
            of_event = "(SELECT item FROM decisions WHERE event = ?)"
            self._db.execute(f"DELETE FROM standing WHERE reviewer = ? AND item IN {of_event}", (reviewer, event))  # noqa: S608
            self._db.execute(
                "INSERT INTO standing SELECT d.item, e.reviewer, max(d.event) FROM decisions d JOIN events e USING (event) "  # noqa: S608
                f"WHERE d.item IN {of_event} AND e.reviewer = ? AND e.undone_by IS NULL GROUP BY d.item",
                (event, reviewer),
            )
            rows = self._db.execute(
                "SELECT i.row FROM decisions d JOIN items i USING (item) WHERE d.event = ? ORDER BY d.seen DESC, i.row LIMIT 1000", (event,)
            ).fetchall()
            return str(kind), tuple(int(row) for (row,) in rows)

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

    def items(self, output: str) -> dict[int, Item]:
        """Every post of an output that was ever decided on, by row."""
        query = (
            "SELECT row, post_id, text, language, channel, published_at, url, predicted, predicted_stance, cluster FROM items "
            "WHERE output = ? ORDER BY row"
        )
        with self._lock:
            rows = self._db.execute(query, (output,)).fetchall()
        return {
            row: Item(row, post_id, text, language, channel, at, url, tuple(json.loads(predicted)), stance, cluster)
            for row, post_id, text, language, channel, at, url, predicted, stance, cluster in rows
        }
