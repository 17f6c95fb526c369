"""Near-duplicates by word triples: who copies whom, found with an index and then verified, so that nothing is compared with everything.

This is for posts that people annotate or are about to: exact, half of the triples, texts in memory. Reposts in a dump of millions are
`narratives.clusters`: approximate, a higher bar, numbers instead of texts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from narratives.text.normalize import normalize

SHARED = 0.5
"""Two texts whose word triples overlap by this much (Jaccard) are near-duplicates."""
MAX_HOLDERS = 200
"""Where texts may be any: a triple that more of them hold (a channel's footer) points to none."""


def triples(text: str) -> frozenset[str]:
    """The text's triples of words, lower case; of a shorter text its words together."""
    words = re.findall(r"\w+", normalize(text).text.lower())
    if len(words) < 3:
        return frozenset([" ".join(words)]) if words else frozenset()
    return frozenset(" ".join(words[i : i + 3]) for i in range(len(words) - 2))


def overlap(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b) if a or b else 0.0


class Seen:
    """Texts kept by their triples, to be asked which of them are near another.

    Args:
        max_holders: a triple that more texts hold (a channel's footer) points to none of them; None: every triple counts.
    """

    def __init__(self, *, max_holders: int | None = None) -> None:
        self._sets: list[frozenset[str]] = []
        self._holders: dict[str, list[int]] = defaultdict(list)
        self._max_holders = max_holders

    def add(self, mine: frozenset[str]) -> None:
        for triple in mine:
            held = self._holders[triple]
            if self._max_holders is None or len(held) < self._max_holders:
                held.append(len(self._sets))
        self._sets.append(mine)

    def near(self, mine: frozenset[str], *, at_least: float = SHARED) -> Iterator[tuple[int, float]]:
        """The texts that share enough, by the order in which they were added, each with its share."""
        held = (self._holders.get(triple, ()) for triple in mine)
        candidates = {i for some in held if self._max_holders is None or len(some) < self._max_holders for i in some}
        for other in sorted(candidates):
            share = overlap(mine, self._sets[other])
            if share >= at_least:
                yield other, share


def pairs(texts: Iterable[str], *, at_least: float = SHARED, max_holders: int | None = MAX_HOLDERS) -> Iterator[tuple[int, int, float]]:
    """Pairs of near-duplicates (later, earlier, share), in order. `max_holders` as `Seen` has it."""
    seen = Seen(max_holders=max_holders)
    for row, text in enumerate(texts):
        mine = triples(text)
        for other, share in seen.near(mine, at_least=at_least):
            yield row, other, share
        seen.add(mine)


def distinct(texts: Iterable[tuple[int, str]], n: int) -> list[int]:
    """The keys of the first `n` texts that are no near-duplicates of an earlier one."""
    kept: list[int] = []
    seen = Seen()
    for key, text in texts:
        if len(kept) == n:
            break
        mine = triples(text)
        if any(seen.near(mine)):
            continue
        seen.add(mine)
        kept.append(key)
    return kept
