"""A scored dump in memory, without its texts: totals of all posts, and what the report needs of each flagged one.

The file is read once, row by row; texts go through the clustering and are dropped. What a page quotes is fetched later, by row
number (`fetch`). A flagged post takes some 600 bytes, so that half a million of them fit into 300 MB.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from narratives import clusters
from narratives.readers.fields import PRIVATE
from narratives.records import Stance
from narratives.report.rows import Row, read_rows

HOUR = timedelta(hours=1)
NOT_NAMED = frozenset({PRIVATE, "(unknown)"})
"""Channels and sources that are people, or nobody knows: counted, never shown or made a node of a network."""


@dataclass(slots=True)
class Flagged:
    """A post with at least one label. `cluster` is the row number of the first copy of its text, flagged or not."""

    number: int
    id: str | None
    channel: str | None
    at: datetime | None
    url: str | None
    views: int | None
    forwards: int | None
    source: str | None
    source_at: datetime | None
    language: str
    labels: tuple[str, ...]
    stance: Stance | None
    stance_probability: float | None
    probabilities: dict[str, float]
    links: tuple[str, ...]
    mentions: tuple[str, ...]
    cluster: int = -1

    @property
    def spreads(self) -> bool:
        """Whether it passes the narrative on (endorses or reports) rather than denies it."""
        return self.stance != "refutes"

    @property
    def is_forward(self) -> bool:
        return self.source is not None


@dataclass(slots=True)
class Dump:
    """Everything the report computes from. Hours are the UTC hours in which posts appeared."""

    path: Path
    labels: tuple[str, ...] = ()
    flagged: list[Flagged] = field(default_factory=list)
    n_posts: int = 0
    n_truncated: int = 0
    n_screened: int = 0
    n_without_time: int = 0
    n_without_views: int = 0
    models: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    channels: Counter[str] = field(default_factory=Counter)
    hours: Counter[datetime] = field(default_factory=Counter)
    unflagged_copies: Counter[int] = field(default_factory=Counter)
    """By cluster: posts with a near-copy of a flagged post's text that were not flagged themselves."""

    @property
    def first_at(self) -> datetime | None:
        return min(self.hours, default=None)

    def of(self, label: str) -> list[Flagged]:
        """Its posts in order of time, those without a time last."""
        return sorted((p for p in self.flagged if label in p.labels), key=by_time)

    @property
    def found_labels(self) -> tuple[str, ...]:
        """Labels with at least one post, most frequent first."""
        counts = Counter(label for p in self.flagged for label in p.labels)
        return tuple(sorted(counts, key=lambda label: (-counts[label], self.labels.index(label) if label in self.labels else 0)))


def by_time(post: Flagged) -> tuple[bool, datetime, int]:
    return (post.at is None, post.at or datetime.max.replace(tzinfo=UTC), post.number)


def collect(path: Path, *, on_progress: Callable[[int], None] = lambda _: None) -> Dump:
    """Read an output of `narratives score`.

    Args:
        on_progress: told the number of rows read, each ten thousand.

    Raises:
        InputError, RecordError: as `rows.read_rows`.
    """
    dump = Dump(path)
    usernames: dict[str, str] = {}

    def texts() -> Iterator[str]:
        for row in read_rows(path):
            _count(dump, row, usernames)
            if dump.n_posts % 10_000 == 0:
                on_progress(dump.n_posts)
            yield row.text

    first_copies = clusters.assign(texts())
    _name_channels(dump, usernames)
    for post in dump.flagged:
        post.cluster = first_copies[post.number]
    mine = {post.cluster for post in dump.flagged}
    flagged = {post.number for post in dump.flagged}
    dump.unflagged_copies = Counter(first for number, first in enumerate(first_copies) if first in mine and number not in flagged)
    return dump


def fetch(path: Path, numbers: Collection[int]) -> dict[int, Row]:
    """The rows of these numbers, texts and evidence included."""
    wanted, found = set(numbers), dict[int, Row]()
    if wanted:
        for row in read_rows(path):
            if row.number in wanted:
                found[row.number] = row
                if len(found) == len(wanted):
                    break
    return found


def hour_of(instant: datetime) -> datetime:
    return instant.replace(minute=0, second=0, microsecond=0)


def _count(dump: Dump, row: Row, usernames: dict[str, str]) -> None:
    if not dump.labels:
        dump.labels = tuple(row.probabilities)
    dump.n_posts += 1
    dump.n_truncated += row.truncated
    dump.n_screened += row.screened
    dump.n_without_views += row.views is None
    dump.models[row.model or ""] += 1
    dump.languages[row.language or "unknown"] += 1
    if row.published_at is None:
        dump.n_without_time += 1
    else:
        dump.hours[hour_of(row.published_at)] += 1
    channel = row.channel
    if channel is not None:
        dump.channels[channel] += 1
        # Telethon's ids are <channel number>_<message>: this number is all that a raw forward header says of its source.
        if channel not in NOT_NAMED and (match := re.fullmatch(r"(?:-100)?(\d+)_\d+", row.id or "")):
            usernames.setdefault(f"channel{match.group(1)}", channel)
    if row.labels:
        links, mentions = accounts_in(row.text)
        dump.flagged.append(
            Flagged(
                row.number, row.id, channel, row.published_at, row.url, row.views, row.forwards, row.forwarded_from, row.forwarded_at,
                row.language or "unknown", row.labels, row.stance, row.stance_probability,
                {label: row.probabilities[label] for label in row.labels if label in row.probabilities}, links, mentions,
            )
        )  # fmt: skip


def _name_channels(dump: Dump, usernames: Mapping[str, str]) -> None:
    """One name a channel, whether a post, a forward header, a link or a mention speaks of it."""
    known = {name.casefold(): name for name in dump.channels if name not in NOT_NAMED}
    sources = Counter(post.source for post in dump.flagged if post.source is not None and post.source not in NOT_NAMED)
    for name in sources:
        known.setdefault(name.casefold(), name)
    known |= {number.casefold(): name for number, name in usernames.items()}

    for post in dump.flagged:
        if post.source is not None:
            post.source = known.get(post.source.casefold(), post.source)
        # A link to a post (t.me/name/5) is a link to a channel or a public group; a bare @name may be a person, and counts
        # only where the dump itself shows a channel of that name.
        post.links = tuple(dict.fromkeys(known.get(name.casefold(), name) for name in post.links))
        post.mentions = tuple(dict.fromkeys(known[name.casefold()] for name in post.mentions if name.casefold() in known))


_POST_LINK = re.compile(
    r"(?i)(?<![\w.])(?:t|telegram)\.me/(?:s/)?(?:c/(?P<number>\d{1,19})|(?P<name>[a-z][a-z0-9_]{3,31}))/\d+"
    r"|(?<![\w.])vk\.com/(?:\S{0,80}?[?&/]w=)?wall-(?P<club>\d{1,12})_\d+"
)
_ACCOUNT = re.compile(r"(?i)(?<![\w.])(?:t|telegram)\.me/(?:s/)?([a-z][a-z0-9_]{3,31})(?![\w/+])|(?<![\w@./])@([a-z][a-z0-9_]{3,31})\b")


def accounts_in(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Whom a text points to: channels whose posts it links to, and other accounts that it names (t.me/name, @name)."""
    links = [f"channel{m['number']}" if m["number"] else f"club{m['club']}" if m["club"] else m["name"] for m in _POST_LINK.finditer(text)]
    mentions = [a or b for a, b in _ACCOUNT.findall(text)]
    return tuple(dict.fromkeys(links)), tuple(dict.fromkeys(mentions))
