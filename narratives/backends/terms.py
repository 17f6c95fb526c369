"""Words, pairs of words and character n-grams of many texts at once, hashed and counted with numpy: no loop over words.

Case and the special letters of Kazakh are folded away. A word stands between two spaces; n-grams of 3 to 5 characters may take in
those, but nothing of the next word. Features are hashed into a fixed number of columns (Weinberger et al. 2009), so that a model needs
no vocabulary. Hashes are polynomials over the characters modulo 2**64, so that all words of all texts come from one running sum.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

N_FEATURES = 2**17
# Kazakh letters a Russian keyboard lacks, and pairs that people or Latin spellings do not tell apart.
_FOLDED = str.maketrans("әғқңөұүһіёй", "агкноуухиеи")
_CHARACTER_GRAMS = (3, 4, 5)
_BASE = 0x9E3779B97F4A7C15
_INVERSE = pow(_BASE, -1, 2**64)
_MIX = np.uint64(0xD6E8FEB86659FD93)
_KIND = {"word": 0x51AFD7ED558CCD6D, "pair": 0xC4CEB9FE1A85EC53}
_N_CODES = 0x20000
"""Letters beyond the first two planes (rare Chinese) count as spaces."""
_TEXTS_AT_ONCE = 512

Codes = npt.NDArray[np.uint64]


class Terms(NamedTuple):
    """Counts of hashed features in compressed rows: those of text `i` are `columns[starts[i]:starts[i + 1]]`, in rising order."""

    starts: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    counts: npt.NDArray[np.float32]


def count_terms(texts: Sequence[str]) -> Terms:
    """Hashed features of each text, shape (n_texts, `N_FEATURES`)."""
    parts = [_count(texts[at : at + _TEXTS_AT_ONCE]) for at in range(0, len(texts), _TEXTS_AT_ONCE)]
    if not parts:
        return Terms(np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
    lengths = np.concatenate([np.diff(part.starts) for part in parts])
    return Terms(
        np.concatenate([[0], np.cumsum(lengths)]), np.concatenate([p.columns for p in parts]), np.concatenate([p.counts for p in parts])
    )


def _count(texts: Sequence[str]) -> Terms:
    folded = [f" {text.lower().translate(_FOLDED)} " for text in texts]
    codes = np.frombuffer("".join(folded).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    in_word = _word_table()[np.minimum(codes, _N_CODES)]
    codes = np.where(in_word, codes, np.uint32(32)).astype(np.uint64)
    text_of = np.repeat(np.arange(len(texts)), [len(text) for text in folded])
    rows: list[npt.NDArray[np.int64]] = []
    columns: list[npt.NDArray[np.int64]] = []

    def add(hashes: Codes, at: npt.NDArray[np.int64]) -> None:
        rows.append(text_of[at])
        # The high bits of the product are the mixed ones.
        columns.append((((hashes ^ (hashes >> np.uint64(29))) * _MIX) >> np.uint64(64 - 17)).astype(np.int64))

    powers = _powers(_BASE, len(codes))
    gram = codes[:-1] + codes[1:] * powers[1]
    inside = in_word[1:]
    for n in _CHARACTER_GRAMS:
        gram = gram[: len(codes) - n + 1] + codes[n - 1 :] * powers[n - 1]
        inside = inside[: len(gram)] if n == _CHARACTER_GRAMS[0] else inside[: len(gram)] & in_word[n - 2 : n - 2 + len(gram)]
        at = np.flatnonzero(inside)
        add(gram[at] * np.uint64(2 * n + 1), at)

    edges = np.flatnonzero(np.diff(in_word.astype(np.int8), prepend=0, append=0))
    starts, ends = edges[::2], edges[1::2]
    running = np.concatenate([np.zeros(1, np.uint64), np.cumsum(codes * powers[: len(codes)], dtype=np.uint64)])
    words = (running[ends] - running[starts]) * _powers(_INVERSE, len(codes))[starts]
    add(words * np.uint64(_KIND["word"]), starts)
    together = np.flatnonzero(text_of[starts[1:]] == text_of[starts[:-1]]) if len(starts) > 1 else np.zeros(0, np.int64)
    if len(together):
        add((words[together] * np.uint64(_KIND["pair"])) + words[together + 1], starts[together])

    keys, counts = np.unique(np.concatenate(rows) * N_FEATURES + np.concatenate(columns), return_counts=True)
    found = np.searchsorted(keys, np.arange(len(texts) + 1) * N_FEATURES)
    return Terms(found, keys % N_FEATURES, counts.astype(np.float32))


@functools.cache
def _word_table() -> npt.NDArray[np.bool_]:
    """Whether a code point is part of a word, as `\\w` has it."""
    table = np.zeros(_N_CODES + 1, dtype=np.bool_)
    table[:_N_CODES] = [chr(code).isalnum() or code == ord("_") for code in range(_N_CODES)]
    return table


def _powers(base: int, n: int) -> Codes:
    """base**0 … base**(n-1) modulo 2**64, and as many as the longest n-gram needs."""
    factors = np.full(max(n, *_CHARACTER_GRAMS), base, dtype=np.uint64)
    factors[0] = 1
    return np.cumprod(factors, dtype=np.uint64)
