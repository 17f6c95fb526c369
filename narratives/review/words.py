"""Search: which posts have a text with these words in it, also as parts of its words.

What is searched for has no space in it, so it lies within one word of a text. Texts are kept as the numbers of their words, many
posts at a time with the different words of these; a search looks through the different words alone, and then for the numbers found. Four
bytes a word, some 250 a post.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

POSTS_AT_ONCE = 4096
POSTS_OF_PART = 16 * POSTS_AT_ONCE
"""Posts that share one list of different words: the more, the fewer words are looked through, and the more memory it takes to make."""

Rows = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class _Part:
    """Posts `rows`; of the n-th, `numbers[starts[n] : starts[n + 1]]` are its words, as places in `words`."""

    rows: Rows
    words: pa.Array
    numbers: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]

    def have(self, word: str) -> npt.NDArray[np.bool_]:
        """For each post whether one of its words contains this one."""
        found = pc.match_substring(self.words, word).to_numpy(zero_copy_only=False)
        posts = self.starts[1:] > self.starts[:-1]
        if not found.any():
            return np.zeros_like(posts)
        posts[posts] = np.logical_or.reduceat(found[self.numbers], self.starts[:-1][posts])
        return posts


class Words:
    """Built by `add` and a last `seal` in one thread, then asked from any."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []
        self._rows: list[Rows] = []
        self._coded: list[pa.DictionaryArray] = []
        self._sizes: list[npt.NDArray[np.int64]] = []

    def add(self, rows: Rows, texts: pa.Array) -> None:
        """Take in posts: their rows and texts, of the same length."""
        lists = pc.ascii_split_whitespace(pc.fill_null(texts, ""))
        coded = lists.flatten().dictionary_encode()
        # Letters are made small in the different words only; that makes some of them the same, which `seal` joins.
        self._coded.append(pa.DictionaryArray.from_arrays(coded.indices, pc.utf8_lower(coded.dictionary)))
        self._rows.append(rows)
        self._sizes.append(np.diff(lists.offsets.to_numpy()).astype(np.int64))
        if sum(map(len, self._rows)) >= POSTS_OF_PART:
            self.seal()

    def seal(self) -> None:
        """Make posts that were added findable."""
        if not self._rows:
            return
        whole = pa.chunked_array(self._coded).unify_dictionaries()
        self._parts.append(
            _Part(
                np.concatenate(self._rows),
                whole.chunk(0).dictionary,
                np.concatenate([chunk.indices.to_numpy() for chunk in whole.chunks]),
                np.concatenate([[0], *self._sizes]).cumsum(),
            )
        )
        self._rows, self._coded, self._sizes = [], [], []
        pa.default_memory_pool().release_unused()

    def find(self, words: Sequence[str]) -> Rows:
        """Rows of posts that have every one of these, which are lower-case and without space, in the order they were added."""
        found = []
        for part in self._parts:
            posts = np.ones(len(part.rows), np.bool_)
            for word in words:
                posts &= part.have(word)
                if not posts.any():
                    break
            found.append(part.rows[posts])
        return np.concatenate(found) if found else np.empty(0, np.int32)
