"""Takes decisions over when a file was scored again: another model, more posts, another order.

A post is the same where channel, id and text are the same; one without an id of its own (`records.place_id`), where channel and text are:
with another text it is gone, for nothing tells that it was edited. Events are repeated one by one for the rows of the new version, so that
undo goes back through them as before. What is carried stays where it was, too; a post that is gone, or was edited, has its decisions under
the old version alone, and `narratives export` writes them.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from narratives.records import PLACE_ID
from narratives.review.database import Database, quoted
from narratives.review.rows import OpenedOutput
from narratives.review.store import Store
from narratives.review.texts import Texts, item_of

Why = Literal["gone", "edited", "label"]
_ROWS_AT_ONCE = 4000
# Posts decided on in other versions that were not looked for in this one yet.
_UNMATCHED = (
    "FROM items i WHERE i.output <> :output AND i.item IN (SELECT item FROM decisions) "
    "AND NOT EXISTS (SELECT 1 FROM matches m WHERE m.output = :output AND m.item = i.item)"
)
_FOUND = "SELECT m.found FROM decisions d JOIN matches m ON m.output = ? AND m.item = d.item WHERE d.event = ?"
_NAMELESS = "is_place_id(i.post_id)"


@dataclass(frozen=True, slots=True)
class Carried:
    """What became of decisions on other versions of the file, in posts.

    `n_posts` were taken over at this opening. Left under their old version are `n_gone` that are not in this one, `n_edited` whose text is
    another, and `n_labels` decided with a label that this version does not have.
    """

    n_posts: int = 0
    n_gone: int = 0
    n_edited: int = 0
    n_labels: int = 0

    @property
    def n_left(self) -> int:
        return self.n_gone + self.n_edited + self.n_labels


def carry_over(store: Store, scored: OpenedOutput, database: Database, texts: Texts) -> Carried:
    """Take over what was decided on other versions of the file. Nothing is done twice; what was undone stays undone."""
    if all(output == scored.digest for output in store.outputs()):
        return Carried()
    _match(store, scored, database, texts)
    with store.writing() as db:
        carried = _repeat(store, db, scored.digest)
    left = _left(store, scored.digest)
    return Carried(carried, n_gone=left.get("gone", 0), n_edited=left.get("edited", 0), n_labels=left.get("label", 0))


def _left(store: Store, output: str) -> dict[Why, int]:
    """How many posts have decisions that stay under other versions, and why."""
    query = (
        "SELECT why, count(*) FROM (SELECT DISTINCT m.why, i.channel, "  # noqa: S608
        f"CASE WHEN NOT {_NAMELESS} THEN i.post_id END, CASE WHEN {_NAMELESS} THEN i.text END FROM matches m JOIN items i USING (item) "
        "WHERE m.output = ? AND m.found IS NULL AND m.item IN (SELECT item FROM standing)) GROUP BY why"
    )
    with store.reading() as db:
        return dict(db.execute(query, (output,)).fetchall())


# ---- which row is which post ------------------------------------------------------------------------------------------


def _match(store: Store, scored: OpenedOutput, database: Database, texts: Texts) -> None:
    """Write down for each decided post of other versions which post of this one it is, or why there is none."""
    candidates = _candidates(store, scored.digest, database)
    if not candidates:
        return
    unknown = _with_unknown_labels(store, scored.label_ids)
    same = _of_same_text(store, texts, {item: rows for item, rows in candidates.items() if item not in unknown})
    order = sorted(candidates, key=lambda item: candidates[item].place)
    taken: dict[str, set[int]] = defaultdict(set)
    matches: dict[int, int | Why] = {}
    for item in order:
        if rows := same.get(item):
            # Posts that are the same in everything are told apart by their order alone.
            used = taken[candidates[item].place[0]]
            matches[item] = next((row for row in rows if row not in used), rows[-1])
            used.add(matches[item])  # type: ignore[arg-type]
        else:
            matches[item] = "label" if item in unknown else "edited" if candidates[item].rows else "gone"
    _write_matches(store, scored, texts, matches)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A decided post: `place` is its output and row there, `rows` those of this version with its channel and id: for a post
    without an id of its own, the one with its channel and text that it is paired with."""

    place: tuple[str, int]
    rows: list[int]


_BY_ID = """
SELECT w.item, f.file_row_number FROM wanted w JOIN {file} f ON f.id = w.post_id AND f.channel IS NOT DISTINCT FROM w.channel
ORDER BY f.file_row_number"""
# Of equal posts the n-th that was decided is the n-th here, or the last: all pairs of posts without words, say, would be millions.
_BY_TEXT = """
WITH here AS MATERIALIZED (
    SELECT f.channel, coalesce(f.text, '') AS text, f.file_row_number AS row FROM {file} f
    SEMI JOIN wanted w ON w.text = coalesce(f.text, '') AND w.channel IS NOT DISTINCT FROM f.channel
    WHERE f.id IS NULL OR regexp_full_match(f.id, {place_id})),
numbered AS (SELECT *, row_number() OVER (PARTITION BY channel, text ORDER BY row) AS n FROM here),
counted AS (SELECT channel, text, count(*) AS n FROM here GROUP BY channel, text),
decided AS (
    SELECT w.item, w.channel, w.text, least(c.n, row_number() OVER (PARTITION BY w.output, w.channel, w.text ORDER BY w.row)) AS n
    FROM wanted w JOIN counted c ON c.text = w.text AND c.channel IS NOT DISTINCT FROM w.channel)
SELECT d.item, h.row FROM decided d JOIN numbered h ON h.n = d.n AND h.text = d.text AND h.channel IS NOT DISTINCT FROM d.channel"""
_WANTED = pa.schema(
    {"item": pa.int64(), "output": pa.string(), "row": pa.int64(), "channel": pa.string(), "post_id": pa.string(), "text": pa.string()}
)


def _candidates(store: Store, output: str, database: Database) -> dict[int, _Candidate]:
    with store.reading() as db:
        query = f"SELECT i.item, i.output, i.row, i.channel, i.post_id, CASE WHEN {_NAMELESS} THEN i.text END {_UNMATCHED}"
        wanted = db.execute(query, {"output": output}).fetchall()
    found = {item: _Candidate((of, row), []) for item, of, row, *_ in wanted}
    named = [post for post in wanted if post[-1] is None]
    nameless = [post for post in wanted if post[-1] is not None]
    for posts, query in ((named, _BY_ID), (nameless, _BY_TEXT)):
        if not posts:
            continue
        table = pa.table(list(zip(*posts, strict=True)), schema=_WANTED)
        with database.connection() as duck:
            duck.register("wanted", table)
            pairs = duck.execute(query.format(file=database.file, place_id=quoted(PLACE_ID))).fetchall()
            duck.unregister("wanted")
        for item, row in pairs:
            found[item].rows.append(row)
    return found


def _with_unknown_labels(store: Store, labels: Sequence[str]) -> set[int]:
    """Posts with a decision that this version has no words for."""
    with store.reading() as db:
        said = [text for (text,) in db.execute("SELECT DISTINCT labels FROM decisions")]
        foreign = [text for text in said if not set(json.loads(text)) <= set(labels)]
        return {item for text in foreign for (item,) in db.execute("SELECT item FROM decisions WHERE labels = ?", (text,))}


def _of_same_text(store: Store, texts: Texts, candidates: Mapping[int, _Candidate]) -> dict[int, list[int]]:
    """Of the candidates, rows whose text is that of the decided post."""
    same: dict[int, list[int]] = defaultdict(list)
    pairs = sorted((row, item) for item, found in candidates.items() for row in found.rows)
    for start in range(0, len(pairs), _ROWS_AT_ONCE):
        part = pairs[start : start + _ROWS_AT_ONCE]
        here = texts.of_rows([row for row, _ in part])
        chosen = ", ".join(str(item) for _, item in part)
        with store.reading() as db:
            decided = dict(db.execute(f"SELECT item, text FROM items WHERE item IN ({chosen})").fetchall())  # noqa: S608
        for row, item in part:
            if here[row] == decided[item]:
                same[item].append(row)
    return same


def _write_matches(store: Store, scored: OpenedOutput, texts: Texts, matches: Mapping[int, int | Why]) -> None:
    # In parts: a match by itself changes nothing, so others may write between, and what a kill leaves is gone on with.
    pairs = sorted(((found, item) for item, found in matches.items() if isinstance(found, int)))
    lost = [(scored.digest, item, why) for item, why in matches.items() if isinstance(why, str)]
    for start in range(0, len(pairs), _ROWS_AT_ONCE):
        part = pairs[start : start + _ROWS_AT_ONCE]
        posts = {int(str(post["row"])): post for post in texts.posts([row for row, _ in part])}
        with store.writing() as db:
            here = {row: store.keep(scored.digest, item_of(post, row, scored.label_ids)) for row, post in posts.items()}
            db.executemany("INSERT OR IGNORE INTO matches VALUES (?, ?, ?, NULL)", [(scored.digest, item, here[row]) for row, item in part])
    with store.writing() as db:
        db.executemany("INSERT OR IGNORE INTO matches VALUES (?, ?, NULL, ?)", lost)


# ---- what was decided -------------------------------------------------------------------------------------------------


def _repeat(store: Store, db: sqlite3.Connection, output: str) -> int:
    """Repeat the events of other versions for this one, oldest first; how many posts they decide."""
    events = db.execute(
        "SELECT coalesce(c.source, e.event), e.event, e.output, e.reviewer, e.kind, e.at, e.undone_by FROM events e "
        "LEFT JOIN carried c ON c.event = e.event WHERE e.kind <> 'undo' ORDER BY e.event"
    ).fetchall()
    done = {source for (source,) in db.execute("SELECT source FROM carried WHERE output = ?", (output,))}
    undone: dict[int, list[int]] = defaultdict(list)
    for source, event, *_, undone_by in events:
        if undone_by is not None:
            undone[source].append(event)
    posts: set[int] = set()
    for source, event, of, reviewer, kind, at, _ in events:
        if source != event or of == output or source in done or source in undone[source]:
            continue
        decisions = _decisions(db, output, source, reviewer)
        for other in undone[source]:  # taken back under another version: for the posts of that version
            for (item,) in db.execute(_FOUND, (output, other)):
                decisions.pop(item, None)
        repeated = store.add_event(output, reviewer, kind, at=at) if decisions else None
        db.execute("INSERT INTO carried VALUES (?, ?, ?)", (output, source, repeated))
        if repeated is not None:
            store.add_decisions(repeated, reviewer, decisions.values())
            posts |= decisions.keys()
    return len(posts)


def _decisions(db: sqlite3.Connection, output: str, source: int, reviewer: str) -> dict[int, tuple[object, ...]]:
    """What an event decided, for posts of this version by item; not for those on which its reviewer decided later."""
    rows: Iterable[tuple[int, str, str, str | None, str, int, int, str, str | None]] = db.execute(
        "SELECT m.found, d.verdict, d.labels, d.stance, d.note, d.seen, d.settles, i.predicted, i.predicted_stance FROM decisions d "
        "JOIN matches m ON m.output = ? AND m.item = d.item JOIN items i ON i.item = m.found "
        "LEFT JOIN standing s ON s.item = m.found AND s.reviewer = ? LEFT JOIN carried c ON c.event = s.event "
        "WHERE d.event = ? AND coalesce(c.source, s.event, 0) < ? ORDER BY d.seen",
        (output, reviewer, source, source),
    ).fetchall()
    found: dict[int, tuple[object, ...]] = {}
    for item, said, labels, stance, note, seen, settles, predicted, predicted_stance in rows:
        verdict = said
        if said in {"accept", "correct"} and json.loads(labels):  # the model now says something else
            verdict = "accept" if (set(json.loads(labels)), stance) == (set(json.loads(predicted)), predicted_stance) else "correct"
        found[item] = (item, verdict, labels, stance, note, seen, settles)
    return found
