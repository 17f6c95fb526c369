"""Two periods side by side: is a narrative a larger share of all posts than before?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from narratives.errors import ConfigError
from narratives.report.amplification import Views, count_views
from narratives.report.dump import Dump, hour_of
from narratives.report.intervals import Interval, difference, wilson


@dataclass(frozen=True, slots=True)
class Period:
    """Whole days in UTC, both named days included."""

    first: date
    last: date

    def __str__(self) -> str:
        return f"{self.first}" if self.first == self.last else f"{self.first} to {self.last}"

    def holds(self, instant: datetime) -> bool:
        start = datetime.combine(self.first, time(), UTC)
        return start <= instant < datetime.combine(self.last, time(), UTC) + timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Change:
    """One label in two periods. `difference` is the later share minus the earlier one."""

    label: str
    n_before: int
    n_after: int
    before: Interval
    after: Interval
    difference: Interval
    views_before: Views
    views_after: Views

    @property
    def is_clear(self) -> bool:
        """Whether the interval of the difference leaves zero out."""
        return self.difference.low > 0 or self.difference.high < 0


@dataclass(frozen=True, slots=True)
class Comparison:
    before: Period
    after: Period
    n_posts_before: int
    n_posts_after: int
    changes: tuple[Change, ...]


def parse_periods(text: str) -> tuple[Period, Period]:
    """Two periods "2023-10-06..2023-10-08,2023-10-09..2023-10-11"; a single day needs no "..".

    Raises:
        ConfigError: anything else, or a period that ends before it starts.
    """
    periods = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{4}-\d\d-\d\d)(?:\.\.(\d{4}-\d\d-\d\d))?\s*", part)
        try:
            if not match:
                raise ValueError
            first, last = date.fromisoformat(match[1]), date.fromisoformat(match[2] or match[1])
        except ValueError:
            raise ConfigError(
                f"--compare {text!r}: {part!r} is no period; expected two like 2023-10-06..2023-10-08,2023-10-09..2023-10-11"
            ) from None
        if last < first:
            raise ConfigError(f"--compare {text!r}: {part!r} ends before it starts")
        periods.append(Period(first, last))
    if len(periods) != 2:
        raise ConfigError(f"--compare {text!r}: found {len(periods)} period(s), expected two with a comma between")
    return periods[0], periods[1]


def compare(dump: Dump, before: Period, after: Period, labels: Sequence[str]) -> Comparison:
    """Shares of all posts of each period."""
    n_before, n_after = (sum(n for hour, n in dump.hours.items() if period.holds(hour)) for period in (before, after))
    changes = []
    for label in labels:
        posts = [post for post in dump.of(label) if post.at is not None]
        mine, later = ([p for p in posts if p.at is not None and period.holds(hour_of(p.at))] for period in (before, after))
        changes.append(
            Change(
                label,
                len(mine),
                len(later),
                wilson(len(mine), n_before),
                wilson(len(later), n_after),
                difference(len(mine), n_before, len(later), n_after),
                count_views(p for p in mine if p.spreads),
                count_views(p for p in later if p.spreads),
            )
        )
    return Comparison(before, after, n_before, n_after, tuple(changes))
