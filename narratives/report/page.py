"""The page: one HTML file that loads nothing and runs nothing.

Everything from posts is escaped by Jinja2; only our own SVG goes in as markup (its texts are escaped by Vega). A content security policy in
the page forbids scripts and requests, should a browser find any.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from narratives.addresses import safe_link
from narratives.errors import MissingDependency
from narratives.report.amplification import Views
from narratives.report.build import N_CLUSTERS, Report
from narratives.report.charts import Chart
from narratives.report.dump import NOT_NAMED
from narratives.report.headings import HEADINGS
from narratives.report.intervals import Interval
from narratives.report.rows import Row

UNKNOWN = "unknown"
_MAX_TEXT = 700
_CONTEXT = 160

Piece = tuple[str, bool]


def render(report: Report) -> str:
    """The whole page as text."""
    try:
        import jinja2
        from markupsafe import Markup
    except ImportError as error:
        raise MissingDependency("jinja2", "report") from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("narratives.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )

    def picture(chart: Chart) -> Markup:
        return Markup(chart.svg())  # noqa: S704  # made by Vega from data it escapes; a test feeds it markup

    environment.filters |= {
        "number": number, "share": share, "between": between, "when": when, "day": day, "wait": wait, "views": views, "name": shown_name,
        "pieces": pieces, "picture": picture, "link": safe_link,
    }  # fmt: skip
    return environment.get_template("report.html.j2").render(r=report, h=HEADINGS[report.language], n_clusters=N_CLUSTERS)


def number(value: float | None) -> str:
    """1,234 with thin spaces, as it may be quoted in any language; what is not known says so."""
    return UNKNOWN if value is None else f"{value:,.0f}".replace(",", "\u202f")


def share(value: float) -> str:
    """A share as percent, with as many digits as keep small ones apart."""
    percent = 100 * value
    if math.isnan(percent):
        return "–"
    digits = f"{percent:.0f}" if abs(percent) >= 20 else f"{percent:.1f}" if abs(percent) >= 0.1 or percent == 0 else f"{percent:.2g}"
    return digits.replace("-", "\u2212", 1) + "%" if abs(percent) >= 0.001 else "0.0%"


def between(interval: Interval | None, *, of: int | None = None) -> str:
    """An interval: "12 to 19" where a count is wanted (`of` posts), else "1.2% to 1.9%"."""
    if interval is None:
        return UNKNOWN
    if of is not None:
        scaled = interval.times(of)
        return f"{number(scaled.low)} to {number(scaled.high)}"
    return f"{share(interval.low)} to {share(interval.high)}"


def when(instant: datetime | None) -> str:
    return UNKNOWN if instant is None else f"{instant.day} {instant:%b %Y, %H:%M}"


def day(instant: datetime | None) -> str:
    return UNKNOWN if instant is None else f"{instant.day} {instant:%B %Y}"


def wait(delta: timedelta) -> str:
    """42 s, 17 min, 5 h 20 min, 3 d 4 h."""
    seconds = round(delta.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def views(value: Views) -> str:
    """The sum, and of how many posts it is not known."""
    if value.total is None:
        return UNKNOWN
    return number(value.total) + (f" (unknown for {number(value.n_unknown)} more)" if value.n_unknown else "")


def shown_name(channel: str | None) -> str:
    """A channel's name, shortened; people and unknown sources are not named."""
    if channel is None or channel in NOT_NAMED or channel == "(not named)":
        return "not named"
    return channel if len(channel) <= 60 else channel[:59] + "…"


def pieces(row: Row, label: str | None = None) -> list[Piece]:
    """The text cut into stretches that carry evidence of the label and others, shortened around the evidence."""
    spans = sorted(
        (e["start"], e["end"])
        for e in row.evidence
        if (label is None or e["label"] == label) and 0 <= e["start"] < e["end"] <= len(row.text)
    )
    merged: list[tuple[int, int]] = []
    for start, end in spans:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    found: list[Piece] = []
    at = 0
    for start, end in merged:
        found += [(row.text[at:start], False), (row.text[start:end], True)]
        at = end
    found.append((row.text[at:], False))
    return _shorten([piece for piece in found if piece[0]]) if len(row.text) > _MAX_TEXT else [piece for piece in found if piece[0]]


def _shorten(found: Sequence[Piece]) -> list[Piece]:
    """Keep evidence (up to a limit) and its surroundings."""
    short: list[Piece] = []
    marked = any(is_evidence for _, is_evidence in found)
    for index, (text, is_evidence) in enumerate(found):
        if not marked:
            short.append((text[:_MAX_TEXT] + " …", False))
        elif is_evidence or len(text) <= 2 * _CONTEXT:
            short.append((text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + " …", is_evidence))
        elif index == 0:
            short.append(("… " + text[-_CONTEXT:], False))
        elif index == len(found) - 1:
            short.append((text[:_CONTEXT] + " …", False))
        else:
            short.append((text[:_CONTEXT] + " … " + text[-_CONTEXT:], False))
    return short
