"""The charts, as Vega-Lite made by altair and drawn by vl-convert without a browser or a network.

An SVG that stands in the page takes its text colour from the page (`currentColor`), so that it is readable in dark and in light;
a file that stands alone is drawn for white paper. Names of channels come from posts: they are data in the specification, never an
expression, and Vega writes data as escaped text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from narratives.errors import MissingDependency
from narratives.report.amplification import Narrative
from narratives.report.dump import HOUR, Flagged
from narratives.report.network import Network, layout
from narratives.report.spread import Appearance, Confidence, shown_channel

STANCE_COLOURS = {"endorses": "#d1495b", "reports": "#e0a030", "refutes": "#2a9d8f"}
"""Told apart by people who do not see red and green alike: they differ in lightness too."""
NO_STANCE, _NO_STANCE_COLOUR = "no stance", "#7d8794"
_SERIES = ["#4f7cac", "#d1495b", "#e0a030", "#2a9d8f", "#8e6c8a", "#7f9a48", "#b5651d", "#5f9ea0", "#c06c84", "#6c757d"]
_WIDTH = 860
_MAX_NAME = 34


@dataclass(frozen=True, slots=True)
class Chart:
    """A finished chart: `name` for a file, `title` and `description` for its readers, and its Vega-Lite specification."""

    name: str
    title: str
    description: str
    specification: dict[str, Any]

    def svg(self, *, ink: str = "currentColor") -> str:
        """The picture as an `<svg>` element for a page; with another `ink`, a file's content."""
        try:
            import vl_convert
        except ImportError as error:
            raise MissingDependency("vl-convert-python", "report") from error
        drawn = vl_convert.vegalite_to_svg(self._with_ink(ink), allowed_base_urls=[])
        # Several pictures stand in one page: their ids must differ.
        prefix = re.sub(r"[^a-z0-9]", "-", self.name)
        drawn = re.sub(r'(\bid="|url\(#)', rf"\g<1>{prefix}-", drawn)
        return str(drawn)

    def png(self) -> bytes:
        """The picture at twice its size, on white."""
        try:
            import vl_convert
        except ImportError as error:
            raise MissingDependency("vl-convert-python", "report") from error
        specification = self._with_ink("#1c2430") | {"background": "white"}
        return bytes(vl_convert.vegalite_to_png(specification, scale=2, allowed_base_urls=[]))

    def _with_ink(self, ink: str) -> dict[str, Any]:
        faint = {"gridColor": ink, "gridOpacity": 0.13, "domainColor": ink, "domainOpacity": 0.35, "tickColor": ink, "tickOpacity": 0.35}
        text = {"labelColor": ink, "titleColor": ink, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"}
        config = {
            "background": "transparent",
            "font": "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif",
            "view": {"stroke": None},
            "axis": {**faint, **text, "titlePadding": 8, "labelLimit": 260},
            "legend": {**text, "orient": "top", "title": None, "symbolSize": 110, "labelLimit": 300},
            "text": {"color": ink},
            "rule": {"color": ink},
            "header": text,
        }
        return {**self.specification, "config": config}


def _altair() -> Any:
    try:
        import altair
    except ImportError as error:
        raise MissingDependency("altair", "report") from error
    return altair


def _chart(name: str, title: str, description: str, chart: Any) -> Chart:
    return Chart(name, title, description, json.loads(chart.to_json(validate=False)))


def _data(rows: Sequence[Mapping[str, object]]) -> Any:
    return _altair().Data(values=list(rows))


def _instant(value: datetime) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")


def _short(name: str) -> str:
    return name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 1] + "…"


def _whole(top: int) -> list[int]:
    """At most six ticks at whole numbers."""
    step = next(s * 10**e for e in range(12) for s in (1, 2, 5) if top / (s * 10**e) <= 6)
    return list(range(0, top + 1, step))


def _time_axis(alt: Any, first: datetime, last: datetime) -> Any:
    days = (last - first).days
    return alt.Axis(title="UTC", format="%d %b" if days >= 2 else "%d %b %H:%M", labelOverlap=True, tickCount=min(12, max(4, days + 1)))


def _stance_colour(alt: Any, without: bool) -> Any:
    """`without`: some posts have no stance; others need no such entry in the legend."""
    colours = STANCE_COLOURS | ({NO_STANCE: _NO_STANCE_COLOUR} if without else {})
    return alt.Color("stance:N", scale=alt.Scale(domain=list(colours), range=list(colours.values())))


def posts_over_time(narrative: Narrative, title: str) -> Chart | None:
    """Stacked bars by stance, with bursts shaded behind them."""
    alt = _altair()
    bins = narrative.bins
    if not any(b.n_posts for b in bins):
        return None
    width = bins[1].start - bins[0].start if len(bins) > 1 else HOUR
    rows: list[dict[str, object]] = []
    for b in bins:
        below = 0
        for stance, n in (*b.by_stance.items(), (NO_STANCE, b.n_without_stance)):
            if n:
                stop = _instant(b.start + width)
                rows.append({"start": _instant(b.start), "stop": stop, "stance": stance, "low": below, "high": below + n})
                below += n
    top = max(b.n_posts for b in bins)
    axis = _time_axis(alt, bins[0].start, bins[-1].start)
    span = alt.Scale(type="utc", domain=[_instant(bins[0].start), _instant(bins[-1].start + width)])
    shade = (
        alt.Chart(_data([{"start": _instant(b.start), "stop": _instant(b.stop)} for b in narrative.bursts]))
        .mark_rect(opacity=0.13, color="#8e6c8a")
        .encode(x=alt.X("start:T", scale=span), x2="stop:T")
    )
    bars = (
        alt.Chart(_data(rows))
        .mark_rect(xOffset=0.4, x2Offset=-0.4)
        .encode(
            x=alt.X("start:T", scale=span, axis=axis),
            x2="stop:T",
            y=alt.Y("low:Q", title="posts", scale=alt.Scale(domain=[0, top]), axis=alt.Axis(values=_whole(top), format="d")),
            y2="high:Q",
            color=_stance_colour(alt, any(b.n_without_stance for b in bins)),
        )
    )
    chart = (alt.layer(shade, bars) if narrative.bursts else bars).properties(width=_WIDTH, height=190)
    description = f"Posts over time by stance: {title}. {narrative.n_posts} posts, {len(narrative.bursts)} bursts."
    return _chart(f"posts-{narrative.label}", "Posts over time, by stance", description, chart)


def cumulative_views(narratives: Sequence[Narrative], names: dict[str, str]) -> Chart | None:
    """One step line a narrative: known views of posts that spread it, added up in order of publication."""
    alt = _altair()
    shown = [n for n in sorted(narratives, key=lambda n: -(n.views.total or 0)) if n.views.total and n.bins][: len(_SERIES)]
    if not shown:
        return None
    rows = [
        {"at": _instant(b.start), "narrative": names[n.label], "views": b.cumulative_views}
        for n in shown
        for b, before in zip(n.bins, (None, *n.bins), strict=False)
        if (b.cumulative_views is not None) and (before is None or b is n.bins[-1] or b.cumulative_views != before.cumulative_views)
    ]
    order = [names[n.label] for n in shown]
    chart = (
        alt.Chart(_data(rows))
        .mark_line(interpolate="step-after", strokeWidth=2.2)
        .encode(
            x=alt.X("at:T", scale=alt.Scale(type="utc"), axis=_time_axis(alt, shown[0].bins[0].start, shown[0].bins[-1].start)),
            y=alt.Y("views:Q", title="views, added up", axis=alt.Axis(format="~s")),
            color=alt.Color("narrative:N", sort=order, scale=alt.Scale(domain=order, range=_SERIES), legend=alt.Legend(columns=3)),
        )
        .properties(width=_WIDTH, height=280)
    )
    return _chart("cumulative-views", "Cumulative views", "Cumulative known views of each narrative over time.", chart)


def by_channel(narrative: Narrative, *, n: int = 12) -> Chart | None:
    """Bars of known views a channel: its own posts and its forwards."""
    alt = _altair()
    shown = [c for c in sorted(narrative.channels, key=lambda c: -(c.views.total or 0)) if c.views.total][:n]
    if not shown:
        return None
    rows = [
        {"channel": _short(c.channel), "kind": kind, "views": views}
        for c in shown
        for kind, views in (("own posts", c.views.own), ("forwards", c.views.of_forwards))
        if views
    ]
    order = [_short(c.channel) for c in shown]
    chart = (
        alt.Chart(_data(rows))
        .mark_bar(cornerRadiusEnd=2)
        .encode(
            y=alt.Y("channel:N", sort=order, title=None),
            x=alt.X("views:Q", title="known views", axis=alt.Axis(format="~s", tickCount=6)),
            color=alt.Color(
                "kind:N", sort=["own posts", "forwards"], scale=alt.Scale(domain=["own posts", "forwards"], range=["#4f7cac", "#a9c1d9"])
            ),
            order=alt.Order("kind:N", sort="descending"),
        )
        .properties(width=_WIDTH - 170, height=alt.Step(21))
    )
    return _chart(f"channels-{narrative.label}", "Known views, by channel", "Known views of each channel's posts.", chart)


def timeline(narrative: Narrative, posts: Sequence[Flagged], first: Sequence[Appearance], *, n: int = 18) -> Chart | None:
    """Every post as a dot: channels in the order in which they joined, colour by stance, size by views (a circle that is not
    filled where they are unknown); diamonds tell of posts that are not in the dump."""
    alt = _altair()
    order = [a.channel for a in first]
    order += [c for c in dict.fromkeys(shown_channel(p.channel) for p in posts if p.at) if c not in order]
    order = order[:n]
    rows: list[dict[str, object]] = [
        {"at": _instant(p.at), "channel": _short(shown_channel(p.channel)), "stance": p.stance or NO_STANCE, "views": p.views}
        for p in posts
        if p.at is not None and shown_channel(p.channel) in order
    ]
    if len({row["channel"] for row in rows}) < 2:
        return None
    rings: list[dict[str, object]] = [
        {"at": _instant(a.at), "channel": _short(a.channel), "what": "not in the dump, stated by forwards"}
        for a in first
        if a.channel in order and a.confidence is not Confidence.IN_THE_DUMP
    ]
    shown = [_short(c) for c in order]
    y = alt.Y("channel:N", sort=shown, title=None, scale=alt.Scale(domain=shown), axis=alt.Axis(grid=True))
    times = [p.at for p in posts if p.at is not None] + [a.at for a in first if a.channel in order]
    x = alt.X("at:T", scale=alt.Scale(type="utc", padding=14), axis=_time_axis(alt, min(times), max(times)))
    colour = _stance_colour(alt, any(row["stance"] == NO_STANCE for row in rows))
    size = alt.Size("views:Q", scale=alt.Scale(range=[28, 420]), legend=None)
    dots = alt.Chart(_data([r for r in rows if r["views"] is not None])).mark_circle(opacity=0.78).encode(x=x, y=y, color=colour, size=size)
    unknown = alt.Chart(_data([r for r in rows if r["views"] is None])).mark_point(size=42).encode(x=x, y=y, color=colour)
    ring = alt.Chart(_data(rings)).mark_point(size=110, strokeWidth=1.8, color="#8e6c8a", shape="diamond").encode(x=x, y=y)
    chart = alt.layer(dots, unknown, ring).properties(width=_WIDTH - 170, height=alt.Step(24))
    return _chart(
        f"spread-{narrative.label}", "Order of spread", "Posts of each channel over time, channels in the order of their first post.", chart
    )


def network_map(network: Network) -> Chart | None:
    """The most central channels, larger the more they are amplified; lines are thicker the more posts they stand for."""
    alt = _altair()
    places, edges = layout(network)
    if not places:
        return None
    nodes = [node for node in network.nodes if node.channel in places]
    heaviest = max(e.weight for e in edges)
    lines, heads = [], []
    for edge in edges:
        (x, y), (x2, y2) = places[edge.source], places[edge.target]
        length = max(1e-6, ((x2 - x) ** 2 + (y2 - y) ** 2) ** 0.5)
        # The arrow's head stands two thirds of the way, clear of both circles.
        hx, hy = x + 0.66 * (x2 - x), y + 0.66 * (y2 - y)
        lines.append({"x": x, "y": y, "x2": x2, "y2": y2, "weight": edge.weight / heaviest})
        angle = _angle((x2 - x) / length * 1.55, (y2 - y) / length)
        heads.append({"x": hx, "y": hy, "angle": angle, "weight": edge.weight / heaviest})
    circles = [
        {
            "x": places[n.channel][0],
            "y": places[n.channel][1],
            "channel": _short(n.channel),
            "rank": n.n_amplified_by,
            "kind": "in the dump" if n.n_posts else "seen only in forwards and links",
        }
        for n in nodes
    ]
    free = alt.Axis(title=None, labels=False, ticks=False, grid=False, domain=False)
    x = alt.X("x:Q", axis=free, scale=alt.Scale(domain=[-1.2, 1.2]))
    y = alt.Y("y:Q", axis=free, scale=alt.Scale(domain=[-1.15, 1.15]))
    line = (
        alt.Chart(_data(lines))
        .mark_rule(opacity=0.35)
        .encode(
            x=x,
            y=y,
            x2="x2:Q",
            y2="y2:Q",
            strokeWidth=alt.StrokeWidth("weight:Q", scale=alt.Scale(range=[0.7, 5], domain=[0, 1]), legend=None),
        )
    )
    head = (
        alt.Chart(_data(heads))
        .mark_point(shape="triangle", filled=True, opacity=0.6, color="#8e6c8a")
        .encode(
            x=x,
            y=y,
            angle=alt.Angle("angle:Q", scale=None),
            size=alt.Size("weight:Q", scale=alt.Scale(range=[45, 190], domain=[0, 1]), legend=None),
        )
    )
    kinds = ["in the dump", "seen only in forwards and links"]
    circle = (
        alt.Chart(_data(circles))
        .mark_circle(opacity=0.95)
        .encode(
            x=x,
            y=y,
            size=alt.Size("rank:Q", scale=alt.Scale(range=[70, 900]), legend=None),
            color=alt.Color("kind:N", scale=alt.Scale(domain=kinds, range=["#4f7cac", "#b9a3b6"])),
        )
    )
    label = alt.Chart(_data(circles)).mark_text(dy=-17, fontSize=12, fontWeight=500).encode(x=x, y=y, text="channel:N")
    chart = alt.layer(line, head, circle, label).resolve_scale(size="independent").properties(width=_WIDTH, height=470)
    return _chart("network", "Who amplifies whom", f"Network of {len(nodes)} channels and {len(edges)} ties.", chart)


def _angle(dx: float, dy: float) -> float:
    """Degrees clockwise from "up", as Vega turns a triangle."""
    import math

    return math.degrees(math.atan2(dx, dy))
