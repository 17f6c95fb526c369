"""Near-duplicates by word triples: who copies whom, found with an index and then verified, so that nothing is compared with everything."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from narratives.text.normalize import normalize

SHARED = 0.5
"""Two texts whose word triples overlap by this much (Jaccard) are near-duplicates."""
_MAX_HOLDERS = 200
"""A triple that more texts hold (a channel's footer) points to none of them."""


def triples(text: str) -> frozenset[str]:
    """The text's triples of words, lower case; of a shorter text its words together."""
    words = re.findall(r"\w+", normalize(text).text.lower())
    if len(words) < 3:
        return frozenset([" ".join(words)]) if words else frozenset()
    return frozenset(" ".join(words[i : i + 3]) for i in range(len(words) - 2))


def overlap(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b) if a or b else 0.0


def pairs(texts: Sequence[str], *, at_least: float = SHARED) -> Iterator[tuple[int, int, float]]:
    """Pairs of near-duplicates (later, earlier, share), in order."""
    sets = [triples(text) for text in texts]
    holders: dict[str, list[int]] = defaultdict(list)
    for row, mine in enumerate(sets):
        shared: Counter[int] = Counter()
        for triple in mine:
            held = holders[triple]
            if len(held) < _MAX_HOLDERS:
                shared.update(held)
                held.append(row)
        for other in sorted(shared):
            share = overlap(mine, sets[other])
            if share >= at_least:
                yield row, other, share


def distinct(texts: Iterable[tuple[int, str]], n: int) -> list[int]:
    """The keys of the first `n` texts that are no near-duplicates of an earlier one."""
    kept: list[int] = []
    sets: list[frozenset[str]] = []
    holders: dict[str, list[int]] = defaultdict(list)
    for key, text in texts:
        if len(kept) == n:
            break
        mine = triples(text)
        candidates = {i for triple in mine for i in holders[triple]}
        if any(overlap(mine, sets[i]) >= SHARED for i in candidates):
            continue
        for triple in mine:
            holders[triple].append(len(sets))
        sets.append(mine)
        kept.append(key)
    return kept
