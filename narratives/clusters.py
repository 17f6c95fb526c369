"""Reposts and near-duplicates: which texts are copies of one another.

`assign` gives every text the index of the first text of its cluster. Equal texts (after cleaning) are one cluster; the
rest are compared by the share of word pairs they have in common. MinHash (Broder 1997) with banding (Leskovec, Rajaraman,
Ullman, "Mining of Massive Datasets", 3.4) finds candidates; each is verified by its true Jaccard similarity, because banding
alone joins texts that merely share a footer. Memory: the word pairs of each different text, 8 bytes each, never the texts.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from narratives.errors import ConfigError
from narratives.text.normalize import normalize

__all__ = ["assign"]

MIN_WORDS = 8
"""Texts of fewer words are copies only where they are equal: two of "Утренние новости" and a link say nothing of each other."""

_N_HASHES = 128
_MISS = 1e-3
"""Banding may overlook a pair that is exactly at the threshold with this probability; pairs above it, more rarely."""
_MAX_COMPARED = 64
"""Texts before it in a bucket that a text is compared with: a footer shared by thousands must not cost their square."""
_CHUNK = 8192
_SEED = 20231006

_WORD = re.compile(r"[^\W_]+")

UIntArray = npt.NDArray[np.uint64]


def assign(texts: Iterable[str], *, threshold: float = 0.8) -> list[int]:
    """Cluster texts into reposts and near-duplicates.

    Two texts of at least `MIN_WORDS` words are near-duplicates if the Jaccard similarity of their sets of neighbouring word
    pairs, case and punctuation aside, reaches `threshold`; clusters are the connected components. A text without a word (a picture,
    say) is nobody's copy.

    Args:
        texts: posts as they came; they are read once, in order.
        threshold: in (0, 1]. 0.8 lets some one word in eighteen change.

    Returns:
        For each text the index of the first text of its cluster; a text without a copy gets its own index.

    Raises:
        ConfigError: the threshold is out of its range.
    """
    if not 0 < threshold <= 1:
        raise ConfigError(f"threshold is {threshold}; expected a number above 0 and up to 1")
    first_equal, distinct = _equal_and_pairs(texts)
    parents = list(range(len(first_equal)))
    if threshold < 1 and len(distinct.owners) > 1:
        _join_near_duplicates(distinct, parents, threshold)
    return [_root(parents, first) for first in first_equal]


class _Distinct:
    """Sets of word pairs of the different texts that are long enough, one after the other in one array."""

    def __init__(self) -> None:
        self.owners = array("q")
        self.offsets = array("Q", [0])
        self._chunks: list[UIntArray] = []
        self._pairs: UIntArray | None = None
        self._vocabulary: dict[str, int] = {}

    def add(self, owner: int, words: list[str]) -> None:
        ids = np.fromiter((self._vocabulary.setdefault(word, len(self._vocabulary)) for word in words), np.uint64, len(words))
        pairs = np.unique((ids[:-1] << np.uint64(32)) | ids[1:])
        self._chunks.append(pairs)
        self.owners.append(owner)
        self.offsets.append(self.offsets[-1] + len(pairs))

    @property
    def pairs(self) -> UIntArray:
        if self._pairs is None:
            self._pairs = np.concatenate(self._chunks)
            self._chunks.clear()
        return self._pairs

    def __getitem__(self, row: int) -> UIntArray:
        return self.pairs[self.offsets[row] : self.offsets[row + 1]]


def _equal_and_pairs(texts: Iterable[str]) -> tuple[array[int], _Distinct]:
    """For each text the first one equal to it; and the word pairs of the first ones."""
    seen: dict[bytes, int] = {}
    first_equal, distinct = array("q"), _Distinct()
    for index, text in enumerate(texts):
        clean = " ".join(normalize(text).text.split())
        words = _WORD.findall(clean.casefold())
        if not clean:
            first_equal.append(index)
            continue
        first = seen.setdefault(hashlib.blake2b(clean.encode("utf-8", "replace"), digest_size=16).digest(), index)
        first_equal.append(first)
        if first == index and len(words) >= MIN_WORDS:
            distinct.add(index, words)
    return first_equal, distinct


def _join_near_duplicates(distinct: _Distinct, parents: list[int], threshold: float) -> None:
    keys = _band_keys(distinct, threshold)
    refused: set[tuple[int, int]] = set()
    for band in range(keys.shape[1]):
        for bucket in _buckets(keys[:, band]):
            for at, row in enumerate(bucket):
                for other in bucket[max(0, at - _MAX_COMPARED) : at]:
                    root, other_root = _root(parents, distinct.owners[row]), _root(parents, distinct.owners[other])
                    if root == other_root or (other, row) in refused:
                        continue
                    if _jaccard(distinct[other], distinct[row]) >= threshold:
                        # The smaller index becomes the root, so that a cluster is named after its first text.
                        parents[max(root, other_root)] = min(root, other_root)
                    else:
                        refused.add((other, row))


def _band_keys(distinct: _Distinct, threshold: float) -> UIntArray:
    """MinHash signatures cut into bands, each folded into one number: shape (n_texts, n_bands)."""
    from rensa import RMinHash

    n_rows = _rows_of_a_band(threshold)
    n_bands = _N_HASHES // n_rows
    n_texts = len(distinct.owners)
    keys = np.empty((n_texts, n_bands), np.uint64)
    offsets = np.frombuffer(distinct.offsets, np.uint64)
    for start in range(0, n_texts, _CHUNK):
        stop = min(n_texts, start + _CHUNK)
        hashes = _mix(distinct.pairs[int(offsets[start]) : int(offsets[stop])])
        rows = offsets[start : stop + 1] - offsets[start]
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, rows, _N_HASHES, _SEED)
        signatures = np.array(matrix.to_rows(), np.uint64)[:, : n_rows * n_bands].reshape(-1, n_bands, n_rows)
        folded = np.zeros(signatures.shape[:2], np.uint64)
        for column in range(n_rows):
            folded = _mix(folded ^ signatures[:, :, column])
        keys[start:stop] = folded
    return keys


def _rows_of_a_band(threshold: float) -> int:
    """The longest bands (fewest false candidates) that overlook at most `_MISS` of the pairs at the threshold."""
    fit = [rows for rows in range(1, _N_HASHES + 1) if (1 - threshold**rows) ** (_N_HASHES // rows) <= _MISS]
    return max(fit, default=1)


def _mix(values: UIntArray) -> UIntArray:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): spreads close numbers over all 64 bits."""
    with np.errstate(over="ignore"):
        values = values + np.uint64(0x9E3779B97F4A7C15)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))


def _buckets(keys: UIntArray) -> Iterator[list[int]]:
    """Rows with one and the same key, in order, where there are at least two."""
    order = np.argsort(keys, kind="stable")
    edges = np.flatnonzero(np.diff(keys[order])) + 1
    starts, stops = np.concatenate(([0], edges)), np.concatenate((edges, [len(keys)]))
    for start, stop in zip(*(side[stops - starts > 1].tolist() for side in (starts, stops)), strict=True):
        yield order[start:stop].tolist()


def _jaccard(a: UIntArray, b: UIntArray) -> float:
    merged = np.sort(np.concatenate((a, b)), kind="stable")
    n_common = int(np.count_nonzero(merged[1:] == merged[:-1]))
    return n_common / (len(merged) - n_common)


def _root(parents: list[int], index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = parents[index]
    return index
