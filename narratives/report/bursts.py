"""Bursts: stretches of time in which a narrative takes a larger share of all posts than usual.

Kleinberg, "Bursty and Hierarchical Structure in Streams" (Data Mining and Knowledge Discovery 7:373, 2003), section 4: posts
arrive in bins of time, r of d in a bin are relevant; a two-state automaton emits them with the usual share or with `SCALING` times that,
entering the burst state costs `GAMMA * ln(n_bins)`, and the cheapest sequence of states (Viterbi) says when it burst. Because
shares are compared, a busy day of the whole dump is no burst.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

SCALING = 2.0
GAMMA = 1.0


@dataclass(frozen=True, slots=True)
class Burst:
    """Bins `start` to `stop` (not included). `weight`: how much likelier the burst is than the usual share, in nats."""

    start: int
    stop: int
    n_relevant: int
    n_posts: int
    weight: float


def find_bursts(relevant: Sequence[int], posts: Sequence[int]) -> list[Burst]:
    """Bursts in order of time.

    Args:
        relevant: posts of the narrative in each bin.
        posts: all posts in each bin, at least as many.

    Raises:
        ValueError: the two differ in length, or a bin has more relevant posts than posts.
    """
    if len(relevant) != len(posts) or any(r > d for r, d in zip(relevant, posts, strict=True)):
        raise ValueError("each bin needs its number of posts, and no more relevant posts than that")
    n_relevant, n_posts = sum(relevant), sum(posts)
    if not n_relevant or n_relevant == n_posts:
        return []
    usual = n_relevant / n_posts
    bursting = min(SCALING * usual, (1 + usual) / 2)
    enter = GAMMA * math.log(len(posts))

    def cost(share: float, r: int, d: int) -> float:
        # The binomial coefficient is the same in both states and is left out.
        return -(r * math.log(share) + (d - r) * math.log1p(-share))

    gains = [cost(usual, r, d) - cost(bursting, r, d) for r, d in zip(relevant, posts, strict=True)]
    # best[s]: cost of the cheapest path that ends in state s; came[t][s]: the state before.
    best: list[float] = [0.0, enter]
    came: list[tuple[int, int]] = []
    for r, d in zip(relevant, posts, strict=True):
        arrive_usual, arrive_burst = min((best[0], 0), (best[1], 1)), min((best[0] + enter, 0), (best[1], 1))
        if not came:
            arrive_usual, arrive_burst = (0.0, 0), (enter, 0)
        came.append((arrive_usual[1], arrive_burst[1]))
        best = [arrive_usual[0] + cost(usual, r, d), arrive_burst[0] + cost(bursting, r, d)]
    state = 0 if best[0] <= best[1] else 1
    states = [0] * len(posts)
    for t in range(len(posts) - 1, -1, -1):
        states[t] = state
        state = came[t][state]
    found, start = [], None
    for t, current in enumerate([*states, 0]):
        if current and start is None:
            start = t
        elif not current and start is not None:
            found.append(Burst(start, t, sum(relevant[start:t]), sum(posts[start:t]), sum(gains[start:t])))
            start = None
    return found
