"""The numbers: posts and views of each narrative, over time, by channel, by stance and language.

Views are added up only where they are known, and every sum says of how many posts they are not. Views of forwards are kept apart
from those of a channel's own posts: by Telegram's FAQ an original's counter includes the views of its forwarded copies, so that
the sum of both may count people twice. Views are those at the time of the export, credited to the hour in which the post
appeared.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from narratives.records import STANCES
from narratives.report.bursts import Burst, find_bursts
from narratives.report.dump import HOUR, NOT_NAMED, Dump, Flagged, by_time, hour_of
from narratives.report.intervals import ErrorRates, Interval, corrected, wilson

MAX_BINS = 240


@dataclass(frozen=True, slots=True)
class Views:
    """Sums of known views; `n_unknown` posts have none stated. `total` is None where there are posts and none states any."""

    own: int
    of_forwards: int
    n_known: int
    n_unknown: int

    @property
    def total(self) -> int | None:
        return self.own + self.of_forwards if self.n_known or not self.n_unknown else None

    def __add__(self, other: Views) -> Views:
        return Views(
            self.own + other.own, self.of_forwards + other.of_forwards, self.n_known + other.n_known, self.n_unknown + other.n_unknown
        )


@dataclass(frozen=True, slots=True)
class Cell:
    """Posts of one label in one language: by stance, the share of all posts of the language, and that share corrected."""

    language: str
    n_posts: int
    n_of_language: int
    by_stance: dict[str, int]
    share: Interval
    corrected: Interval | None


@dataclass(frozen=True, slots=True)
class Bin:
    """`start` of a stretch of time. `views` are those of the posts in it that spread the narrative, `cumulative_views` of all up to its
    end: None where there are such posts and none states its views; `n_unknown` of those in it do not."""

    start: datetime
    n_posts: int
    by_stance: dict[str, int]
    views: int | None
    cumulative_views: int | None
    n_unknown: int

    @property
    def n_without_stance(self) -> int:
        """Posts of a model that tells no stances."""
        return self.n_posts - sum(self.by_stance.values())


@dataclass(frozen=True, slots=True)
class ChannelShare:
    """What one channel did for a narrative."""

    channel: str
    n_posts: int
    n_forwards: int
    n_refuting: int
    views: Views
    first_at: datetime | None


@dataclass(frozen=True, slots=True)
class BurstTime:
    start: datetime
    stop: datetime
    burst: Burst


@dataclass(frozen=True, slots=True)
class Narrative:
    """All numbers of one label. `views` are those of posts that spread it, `views_of_all` of denials too. `n_forwards` counts
    posts that are forwards; `n_copies` posts whose text an earlier one had."""

    label: str
    n_posts: int
    by_stance: dict[str, int]
    n_forwards: int
    n_copies: int
    views: Views
    views_of_all: Views
    cells: tuple[Cell, ...]
    bins: tuple[Bin, ...]
    channels: tuple[ChannelShare, ...]
    bursts: tuple[BurstTime, ...]

    @property
    def all_languages(self) -> Cell:
        return self.cells[0]

    @property
    def peak(self) -> Bin | None:
        return max(self.bins, key=lambda b: b.n_posts, default=None)


def count_views(posts: Iterable[Flagged]) -> Views:
    own = of_forwards = n_known = n_unknown = 0
    for post in posts:
        if post.views is None:
            n_unknown += 1
            continue
        n_known += 1
        if post.is_forward:
            of_forwards += post.views
        else:
            own += post.views
    return Views(own, of_forwards, n_known, n_unknown)


def bin_width(dump: Dump) -> timedelta:
    """The finest of 1, 3, 6, 12 hours, 1 day, 7, 30 days that gives at most `MAX_BINS` bins."""
    if not dump.hours:
        return HOUR
    span = max(dump.hours) - min(dump.hours) + HOUR
    widths = [timedelta(hours=h) for h in (1, 3, 6, 12, 24, 168, 720)]
    return next((width for width in widths if span / width <= MAX_BINS), widths[-1])


def bin_starts(dump: Dump) -> list[datetime]:
    """Starts of all bins between the first post and the last; whole days where bins are days."""
    if not dump.hours:
        return []
    width, start = bin_width(dump), min(dump.hours)
    start = start.replace(hour=0) if width >= timedelta(days=1) else start.replace(hour=start.hour - start.hour % (width // HOUR))
    starts = []
    while start <= max(dump.hours):
        starts.append(start)
        start += width
    return starts


def measure(dump: Dump, label: str, rates: ErrorRates | None) -> Narrative:
    """Every number of one label.

    Args:
        rates: the model's measured error rates for it; without them nothing is corrected.
    """
    posts = dump.of(label)
    starts = bin_starts(dump)
    bins = _bins(posts, starts, bin_width(dump))
    totals = Counter(dict.fromkeys(starts, 0))
    for hour, n in dump.hours.items():
        totals[starts[(hour - starts[0]) // bin_width(dump)]] += n
    bursts = find_bursts([b.n_posts for b in bins], [totals[b.start] for b in bins])
    return Narrative(
        label=label,
        n_posts=len(posts),
        by_stance=_stances(posts),
        n_forwards=sum(post.is_forward for post in posts),
        n_copies=len(posts) - len({post.cluster for post in posts}),
        views=count_views(post for post in posts if post.spreads),
        views_of_all=count_views(posts),
        cells=_cells(dump, posts, rates),
        bins=bins,
        channels=_channels(posts),
        bursts=tuple(BurstTime(bins[b.start].start, bins[b.stop - 1].start + bin_width(dump), b) for b in bursts),
    )


def _stances(posts: Iterable[Flagged]) -> dict[str, int]:
    counts = Counter(post.stance for post in posts)
    return {stance: counts[stance] for stance in STANCES}


def _cells(dump: Dump, posts: Sequence[Flagged], rates: ErrorRates | None) -> tuple[Cell, ...]:
    """One for all languages, then one a language, most frequent first."""

    def cell(language: str, mine: Sequence[Flagged], n: int) -> Cell:
        return Cell(language, len(mine), n, _stances(mine), wilson(len(mine), n), corrected(len(mine), n, rates) if rates else None)

    by_language = defaultdict(list)
    for post in posts:
        by_language[post.language].append(post)
    ordered = sorted(by_language, key=lambda language: -len(by_language[language]))
    return (cell("all", posts, dump.n_posts), *(cell(i, by_language[i], dump.languages[i]) for i in ordered))


def _bins(posts: Sequence[Flagged], starts: Sequence[datetime], width: timedelta) -> tuple[Bin, ...]:
    inside: list[list[Flagged]] = [[] for _ in starts]
    for post in posts:
        if post.at is not None:
            inside[(hour_of(post.at) - starts[0]) // width].append(post)
    bins, cumulative = [], Views(0, 0, 0, 0)
    for start, mine in zip(starts, inside, strict=True):
        views = count_views(post for post in mine if post.spreads)
        cumulative = cumulative + views
        bins.append(Bin(start, len(mine), _stances(mine), views.total, cumulative.total, views.n_unknown))
    return tuple(bins)


def _channels(posts: Sequence[Flagged]) -> tuple[ChannelShare, ...]:
    """Most posts first; people and unknown channels together as one."""
    mine: dict[str, list[Flagged]] = defaultdict(list)
    for post in posts:
        mine["(not named)" if post.channel is None or post.channel in NOT_NAMED else post.channel].append(post)
    shares = [
        ChannelShare(
            channel,
            len(its),
            sum(post.is_forward for post in its),
            sum(not post.spreads for post in its),
            count_views(its),
            next((post.at for post in sorted(its, key=by_time)), None),
        )
        for channel, its in mine.items()
    ]
    return tuple(sorted(shares, key=lambda s: (-s.n_posts, -(s.views.total or 0), s.channel)))
