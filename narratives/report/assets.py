"""What stands beside the page for those who go on working: pictures as SVG and PNG, tables as CSV, the network for Gephi."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from narratives.errors import ConfigError
from narratives.report.build import Report
from narratives.report.network import KINDS, write_gexf
from narratives.writers.delimited import safe_cell

Value = str | int | float | datetime | timedelta | None


def save_assets(report: Report, folder: Path) -> list[Path]:
    """Write all of it and say what was written. Unknown is an empty cell; delays are seconds.

    Raises:
        ConfigError: the folder's name is taken by a file.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--assets {folder}: is a file; give a folder")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for chart in report.charts:
        for suffix, content in ((".svg", chart.svg(ink="#1c2430").encode()), (".png", chart.png())):
            path = folder / f"{chart.name}{suffix}"
            path.write_bytes(content)
            written.append(path)
    for name, (header, rows) in _tables(report).items():
        path = folder / f"{name}.csv"
        with path.open("w", encoding="utf-8-sig", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(header)
            writer.writerows([_cell(value) for value in row] for row in rows)
        written.append(path)
    path = folder / "network.gexf"
    write_gexf(report.network, report.co_posting, path)
    return [*written, path]


def _cell(value: Value) -> object:
    if value is None:
        return ""
    if isinstance(value, str):
        return safe_cell(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return round(value.total_seconds())
    return f"{value:.6g}" if isinstance(value, float) else value


def _tables(report: Report) -> dict[str, tuple[Sequence[str], Iterable[Sequence[Value]]]]:
    sections = report.sections
    return {
        "summary": (
            (
                "label",
                "language",
                "posts",
                "posts_of_language",
                "share",
                "share_low",
                "share_high",
                "corrected",
                "corrected_low",
                "corrected_high",
                "endorses",
                "reports",
                "refutes",
            ),
            [
                (
                    s.narrative.label,
                    c.language,
                    c.n_posts,
                    c.n_of_language,
                    c.share.value,
                    c.share.low,
                    c.share.high,
                    *((i.value, i.low, i.high) if (i := c.corrected) else (None, None, None)),
                    *c.by_stance.values(),
                )
                for s in sections
                for c in s.narrative.cells
            ],
        ),
        "over_time": (
            ("label", "start", "endorses", "reports", "refutes", "views", "cumulative_views", "posts_with_unknown_views"),
            [
                (s.narrative.label, b.start, *b.by_stance.values(), b.views, b.cumulative_views, b.n_unknown)
                for s in sections
                for b in s.narrative.bins
            ],
        ),
        "channels": (
            (
                "label",
                "channel",
                "posts",
                "forwards",
                "refuting",
                "views_of_own_posts",
                "views_of_forwards",
                "posts_with_unknown_views",
                "first_at",
            ),
            [
                (
                    s.narrative.label,
                    c.channel,
                    c.n_posts,
                    c.n_forwards,
                    c.n_refuting,
                    *((c.views.own, c.views.of_forwards) if c.views.n_known else (None, None)),
                    c.views.n_unknown,
                    c.first_at,
                )
                for s in sections
                for c in s.narrative.channels
            ],
        ),
        "first_posters": (
            ("label", "rank", "channel", "at", "confidence", "views"),
            [
                (s.narrative.label, i, a.channel, a.at, a.confidence.value, a.views)
                for s in sections
                for i, a in enumerate(s.first, start=1)
            ],
        ),
        "denials": (
            ("label", "channel", "at", "probability", "forward", "views"),
            [(s.narrative.label, p.channel, p.at, p.stance_probability, int(p.is_forward), p.views) for s in sections for p in s.denials],
        ),
        "bursts": (
            ("label", "start", "stop", "posts_of_label", "posts", "weight"),
            [
                (s.narrative.label, b.start, b.stop, b.burst.n_relevant, b.burst.n_posts, b.burst.weight)
                for s in sections
                for b in s.narrative.bursts
            ],
        ),
        "repeated_texts": (
            (
                "cluster",
                "copies",
                "not_flagged_copies",
                "channels",
                "forwards",
                "views",
                "first_channel",
                "first_at",
                "first_confidence",
                "most_seen_id",
            ),
            [
                (
                    c.cluster,
                    len(c.posts),
                    c.n_unflagged,
                    c.n_channels,
                    c.n_forwards,
                    c.views.total,
                    *((c.first[0].channel, c.first[0].at, c.first[0].confidence.value) if c.first else (None, None, None)),
                    c.most_seen.id,
                )
                for c in report.copies
            ],
        ),
        "fastest": (
            ("channel", "texts", "median_delay_s", "shortest_delay_s"),
            [(s.channel, s.n_texts, s.median_delay, s.shortest_delay) for s in report.spreaders],
        ),
        "co_posting": (
            ("a", "b", "texts", "median_gap_s", "a_first"),
            [(p.a, p.b, p.n_texts, p.median_gap, p.a_first) for p in report.co_posting],
        ),
        "network_nodes": (
            ("channel", "posts", "amplified_by", "amplifies", "pagerank", "betweenness"),
            [(n.channel, n.n_posts, n.n_amplified_by, n.n_amplifies, n.pagerank, n.betweenness) for n in report.network.nodes],
        ),
        "network_edges": (
            ("source", "target", *KINDS),
            [(e.source, e.target, *(e.by_kind[k] for k in KINDS)) for e in report.network.edges],
        ),
    }
