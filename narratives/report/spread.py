"""Who was first, who copied whom's text and how fast.

A forward states its source and the date of the original. Telegram writes both, not the person who forwards, so that a source that
is not in the dump can still be dated; how much that is worth is said as a `Confidence`.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from narratives.report.amplification import Views, count_views
from narratives.report.dump import NOT_NAMED, Dump, Flagged, by_time

_SAME_POST = timedelta(minutes=1)
"""A forward's date and the original's differ by seconds at most; exports round."""


class Confidence(StrEnum):
    """How the time of a channel's first post is known."""

    IN_THE_DUMP = "in the dump"
    """The post itself is there, with its time."""
    STATED_BY_FORWARDS = "stated by forwards"
    """Not in the dump; two or more forwards from different channels state it as their source, with the same date."""
    STATED_BY_A_FORWARD = "stated by one forward"
    """Not in the dump; one channel's forward states source and date."""
    NO_LATER_THAN = "no later than"
    """Not in the dump, and the forward has no date of the original: it is older than the forward."""


@dataclass(frozen=True, slots=True)
class Appearance:
    """A channel's first post of a narrative or text. `post` is it, or the earliest forward that tells of it."""

    channel: str
    at: datetime
    confidence: Confidence
    post: Flagged
    views: int | None


def first_posters(posts: Iterable[Flagged], *, denials_too: bool = False) -> list[Appearance]:
    """The first appearance in each channel, earliest first, of posts that spread; of denials too if wanted.

    People, posts without a channel, and sources that a forward does not name, are one entry `(not named)` each time they would be first.
    """
    own: dict[str, Flagged] = {}
    stated: dict[str, list[tuple[datetime, bool, Flagged]]] = defaultdict(list)
    for post in sorted(posts, key=by_time):
        if post.at is None or not (post.spreads or denials_too):
            continue
        own.setdefault(shown_channel(post.channel), post)
        if post.source is not None and post.channel != post.source:
            stated[shown_channel(post.source)].append((post.source_at or post.at, post.source_at is not None, post))
    found = []
    for channel in own.keys() | stated.keys():
        mine, origins = own.get(channel), sorted(stated.get(channel, ()), key=lambda o: (o[0], o[2].number))
        dated = [origin for origin in origins if origin[1]]
        origin = dated[0] if dated else next(iter(origins), None)
        if mine is not None and mine.at is not None and (origin is None or mine.at <= origin[0] + _SAME_POST):
            found.append(Appearance(channel, mine.at, Confidence.IN_THE_DUMP, mine, mine.views))
        elif origin is not None:
            tellers = {o[2].channel for o in dated if abs(o[0] - origin[0]) <= _SAME_POST}
            confidence = Confidence.STATED_BY_FORWARDS if len(tellers) > 1 else Confidence.STATED_BY_A_FORWARD
            found.append(Appearance(channel, origin[0], confidence if origin[1] else Confidence.NO_LATER_THAN, origin[2], None))
    return sorted(found, key=lambda a: (a.at, a.post.number))


SURE_DENIAL = 0.8
"""A denial counts as sure from this probability of its stance on."""


def denials(label: str, flagged: Iterable[Flagged]) -> list[Flagged]:
    """Posts that deny a narrative, earliest first, without those that are likelier the model's error than a denial.

    The model takes some mocking or formal endorsements for denials, and the earliest of many posts is an error sooner than any
    other. So a denial must be sure (`SURE_DENIAL`), must not stand before the narrative's first known appearance, and its
    channel must not have spread this or any other narrative before: who says it on Monday is rarely the first to deny it on
    Tuesday. A channel that does change its mind is left out too.

    Args:
        flagged: all flagged posts of the dump, of every label.
    """
    ordered = sorted(flagged, key=by_time)
    first = next(iter(first_posters(post for post in ordered if label in post.labels)), None)
    spread: set[str | None] = set()
    found = []
    for post in ordered:
        if post.at is None:
            continue
        if post.spreads:
            if _is_named(post.channel):  # two posts that name no channel need not be of one
                spread.add(post.channel)
            continue
        is_sure = post.channel not in spread and (post.stance_probability or 0) >= SURE_DENIAL
        if label in post.labels and is_sure and (first is None or post.at > first.at):
            found.append(post)
    return found


def _is_named(channel: str | None) -> bool:
    return channel is not None and channel not in NOT_NAMED


def shown_channel(channel: str | None) -> str:
    """Its name; people and unknown channels are one `(not named)`."""
    return channel if channel is not None and _is_named(channel) else "(not named)"


@dataclass(frozen=True, slots=True)
class Copies:
    """A text and its near-copies. `most_seen` is the post with most views (the first one where none states any)."""

    cluster: int
    posts: tuple[Flagged, ...]
    first: tuple[Appearance, ...]
    views: Views
    most_seen: Flagged
    n_unflagged: int

    @property
    def n_channels(self) -> int:
        return len({post.channel for post in self.posts})

    @property
    def n_forwards(self) -> int:
        return sum(post.is_forward for post in self.posts)


def copies(dump: Dump, *, at_least: int = 2) -> list[Copies]:
    """Clusters of at least so many flagged posts, largest first."""
    mine: dict[int, list[Flagged]] = defaultdict(list)
    for post in sorted(dump.flagged, key=by_time):
        mine[post.cluster].append(post)
    found = [
        Copies(
            cluster,
            tuple(posts),
            tuple(first_posters(posts, denials_too=True)),
            count_views(posts),
            max(posts, key=lambda p: (p.views if p.views is not None else -1, -p.number)),
            dump.unflagged_copies[cluster],
        )
        for cluster, posts in mine.items()
        if len(posts) >= at_least
    ]
    return sorted(found, key=lambda c: (-len(c.posts), c.cluster))


@dataclass(frozen=True, slots=True)
class Spreader:
    """How soon a channel has a text that others had first: over `n_texts` texts, the median delay and the shortest."""

    channel: str
    n_texts: int
    median_delay: timedelta
    shortest_delay: timedelta


def fastest_spreaders(found: Sequence[Copies], *, at_least: int = 2) -> list[Spreader]:
    """Channels that passed on at least so many texts of others, shortest median delay first.

    The delay counts from the first known appearance of the text, whoever had it.
    """
    delays: dict[str, list[timedelta]] = defaultdict(list)
    for text in found:
        for appearance in text.first[1:]:
            if appearance.confidence is Confidence.IN_THE_DUMP and appearance.channel != "(not named)":
                delays[appearance.channel].append(appearance.at - text.first[0].at)
    spreaders = [
        Spreader(c, len(d), timedelta(seconds=statistics.median(x.total_seconds() for x in d)), min(d))
        for c, d in delays.items()
        if len(d) >= at_least
    ]
    return sorted(spreaders, key=lambda s: (s.median_delay, -s.n_texts, s.channel))


def representatives(posts: Sequence[Flagged], label: str, *, n: int = 10, n_refuting: int = 3) -> list[Flagged]:
    """Posts that show a narrative: one of each text, the texts with most copies and views first, at most `n_refuting` denials
    while others are left. Of a text, the copy that the model is surest of, the earliest of equals."""
    mine: dict[int, list[Flagged]] = defaultdict(list)
    for post in posts:
        mine[post.cluster].append(post)
    ranked = sorted(mine.values(), key=lambda its: (-len(its), -(count_views(its).total or 0), its[0].number))
    heads = [min(its, key=lambda p: (-round(p.probabilities.get(label, 0), 2), *by_time(p))) for its in ranked]
    spreading, refuting = [p for p in heads if p.spreads], [p for p in heads if not p.spreads]
    kept = refuting[: max(n_refuting, n - len(spreading))]
    return sorted([*spreading[: n - len(kept[:n])], *kept[:n]], key=by_time)
