"""What is read of the posts themselves: whole posts from the file, first lines for the list, and search.

Texts stay on disk. In the background their first lines are put into a temporary table, first of the flagged posts, then of all, and what
`words.py` searches in is made. Until then search reads the file itself.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import duckdb
import numpy as np

from narratives.records import place_id
from narratives.review.database import Database, quoted
from narratives.review.store import Item

if TYPE_CHECKING:
    from narratives.review.words import Words

MAX_POSTS_KEPT = 200
"""Of the posts shown last: a card is read once, though it is shown, decided on and shown again."""
MAX_SEARCHES_KEPT = 24
SNIPPET_CHARACTERS = 220


class Texts:
    """The texts of an opened output. May be asked from several threads; what makes copies is called from one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.RLock()
        self._posts: dict[int, dict[str, object]] = {}
        self._searches: OrderedDict[tuple[str, ...], str] = OrderedDict()
        self._n_searches = 0
        self._words: Words | None = None
        self._made: Literal["nothing", "flagged", "all"] = "nothing"

    @property
    def snippets_made(self) -> bool:
        """Whether first lines of flagged posts can be had without reading the file."""
        return self._made != "nothing"

    def attach(self, db: duckdb.DuckDBPyConnection) -> None:
        """Open the temporary file that holds the copies."""
        db.execute(f"ATTACH {quoted(str(self._database.folder / 'texts.duckdb'))} AS disk")

    def make_snippets(self, db: duckdb.DuckDBPyConnection, which: Literal["flagged", "all"]) -> None:
        """Copy the first lines of flagged posts, or of all, for the list."""
        where = "len(labels) > 0" if which == "flagged" else "1 = 1"
        db.execute(
            f"CREATE TABLE disk.texts_{which} AS SELECT file_row_number::INTEGER AS row, "  # noqa: S608
            f"left(text, {SNIPPET_CHARACTERS}) AS snippet FROM {self._database.file} WHERE {where}"
        )
        self._made = which

    def make_words(self, db: duckdb.DuckDBPyConnection, closing: threading.Event) -> None:
        """Make what search looks into; given up where `closing` is set."""
        from narratives.review.words import POSTS_AT_ONCE, Words  # the page opens without it

        db.execute("SET arrow_large_buffer_size = true")  # a few thousand long texts may have more than 2 GB
        words = Words()
        posts = db.sql(f"SELECT file_row_number::INTEGER AS row, text FROM {self._database.file}")  # noqa: S608
        for batch in posts.to_arrow_reader(POSTS_AT_ONCE):
            if closing.is_set():
                return
            words.add(batch.column("row").to_numpy(), batch.column("text"))
        words.seal()
        self._words = words

    def snippets(self, db: duckdb.DuckDBPyConnection, rows: Sequence[int], *, from_file: bool) -> dict[int, str]:
        """The beginnings of these texts by row. Without `from_file`, none as long as no copy was made: reading them from the file
        takes as long as reading all."""
        if not rows or not (from_file or self.snippets_made):
            return {}
        texts: dict[int, str] = {}
        if self.snippets_made:
            chosen = ", ".join(str(int(row)) for row in rows)
            texts = dict(db.execute(f"SELECT row, snippet FROM disk.texts_{self._made} WHERE row IN ({chosen})").fetchall())  # noqa: S608
        if missing := ", ".join(str(int(row)) for row in rows if row not in texts):
            query = f"SELECT file_row_number, left(text, {SNIPPET_CHARACTERS}) FROM {self._database.file} WHERE file_row_number IN "  # noqa: S608
            texts |= dict(db.execute(f"{query} ({missing})").fetchall())
        return texts

    def of_rows(self, rows: Sequence[int]) -> dict[int, str]:
        """Whole texts by row, read from the file."""
        chosen = ", ".join(str(int(row)) for row in rows)
        query = f"SELECT file_row_number, coalesce(text, '') FROM {self._database.file} WHERE file_row_number IN ({chosen})"  # noqa: S608
        with self._database.connection() as db:
            return dict(db.execute(query).fetchall()) if rows else {}

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
        with self._database.connection() as db:
            found = db.execute(
                "SELECT * EXCLUDE (file_row_number) REPLACE (epoch_us(published_at) AS published_at), file_row_number AS row "  # noqa: S608
                f"FROM {self._database.file} WHERE file_row_number IN ({chosen}) ORDER BY file_row_number"
            )
            names = [column[0] for column in found.description or ()]
            return [dict(zip(names, values, strict=True)) for values in found.fetchall()]

    def hits(self, search: str) -> str:
        """The table of rows whose text has every word of the search, in any case; kept, because filters change more often than searches."""
        words = tuple(sorted(set(search.lower().split())))
        with self._lock:
            if words not in self._searches:
                self._n_searches += 1
                name = f"hits_{self._n_searches}"
                with self._database.connection() as db:
                    if self._words is not None:
                        db.register("found", {"row": self._words.find(words).astype(np.int32)})
                        db.execute(f"CREATE TABLE {name} AS SELECT row FROM found")  # noqa: S608
                        db.unregister("found")
                    else:
                        tests, values = " AND ".join(["regexp_matches(text, ?)"] * len(words)), ["(?i)" + re.escape(word) for word in words]
                        rows = f"SELECT file_row_number::INTEGER AS row FROM {self._database.file} WHERE {tests}"  # noqa: S608
                        db.execute(f"CREATE TABLE {name} AS {rows}", values)
                    self._searches[words] = name
                    if len(self._searches) > MAX_SEARCHES_KEPT:
                        _, oldest = self._searches.popitem(last=False)
                        db.execute(f"DROP TABLE {oldest}")
            self._searches.move_to_end(words)
            return self._searches[words]


def item_of(post: Mapping[str, Any], cluster: int, labels: Sequence[str]) -> Item:
    """A row of the file as the store keeps it; `cluster` is the row of the first of its copies."""
    published = post["published_at"]
    return Item(
        row=int(post["row"]),
        post_id=str(post["id"] if post["id"] is not None else place_id(post["row"] + 1)),
        text=str(post["text"] or ""),
        language=post["language"],
        channel=post["channel"],
        published_at=None if published is None else datetime.fromtimestamp(published / 1e6, UTC).isoformat(),
        url=post["url"],
        predicted=tuple(i for i in labels if i in (post["labels"] or [])),
        predicted_stance=post["stance"],
        cluster=cluster,
    )
