"""From a scored file to its report: read -> count -> draw -> page, and tables beside it if wanted."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from narratives import bundle
from narratives.errors import BundleError, UnknownName
from narratives.report import charts
from narratives.report.amplification import Narrative, Views, count_views, measure
from narratives.report.charts import Chart
from narratives.report.dump import Dump, Flagged, collect, fetch
from narratives.report.intervals import Interval, corrected, rates_of_any_label, rates_of_labels, wilson
from narratives.report.network import CoPosting, Network, amplification_network, co_posting
from narratives.report.periods import Comparison, compare, parse_periods
from narratives.report.rows import Row
from narratives.report.spread import Appearance, Copies, Spreader, copies, denials, fastest_spreaders, first_posters, representatives
from narratives.scored import read_manifest
from narratives.taxonomy import Taxonomy

N_CLUSTERS = 20
MIN_CHARTED = 3


@dataclass(frozen=True, slots=True)
class Section:
    """One narrative with everything that is shown of it. `denials` are the sure ones, `n_unsure_denials` all others."""

    narrative: Narrative
    name: str
    definition: str
    not_this: str
    posts: tuple[Flagged, ...]
    first: tuple[Appearance, ...]
    denials: tuple[Flagged, ...]
    charts: tuple[Chart, ...]
    examples: tuple[Flagged, ...]

    @property
    def n_unsure_denials(self) -> int:
        return self.narrative.by_stance["refutes"] - len(self.denials)


@dataclass(frozen=True, slots=True)
class Report:
    """All that the page says. `manifest` and `metrics` are empty where they were not found; `model_note` then says so."""

    dump: Dump
    made_at: datetime
    version: str
    flagged: Interval
    flagged_corrected: Interval | None
    views: Views
    views_of_all: Views
    sections: tuple[Section, ...]
    cumulative: Chart | None
    network: Network
    network_map: Chart | None
    co_posting: tuple[CoPosting, ...]
    copies: tuple[Copies, ...]
    spreaders: tuple[Spreader, ...]
    comparison: Comparison | None
    rows: Mapping[int, Row]
    names: Mapping[str, str]
    manifest: Mapping[str, Any]
    metrics: Mapping[str, Any]
    model_note: str
    language: str

    @property
    def charts(self) -> list[Chart]:
        mine = [self.cumulative, self.network_map, *(chart for section in self.sections for chart in section.charts)]
        return [chart for chart in mine if chart is not None]


def build(
    path: str | Path,
    *,
    model: str | None = None,
    periods: str | None = None,
    language: str = "en",
    on_progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Compute the report on an output of `narratives score`.

    Args:
        path: the output: Parquet, JSON lines or CSV; its manifest is looked for beside it.
        model: the bundle that scored it, by name or folder; without it, the one that is shipped, if it is that.
        periods: two periods to compare, as `periods.parse_periods` reads them.
        language: of names and definitions of labels: en, ru or kk.

    Raises:
        InputError, RecordError: the file cannot be read.
        ConfigError: the periods cannot.
        BundleError: a model that was asked for is none, or is not the one that scored the file.
    """
    path = Path(path)
    wanted = parse_periods(periods) if periods is not None else None
    dump = collect(path, on_progress=lambda n: on_progress(f"{n:,} posts read"))
    manifest = read_manifest(path) or {}
    taxonomy, metrics, note = _model(dump, model, manifest)
    names = {label: taxonomy[label].name(language) if taxonomy and label in taxonomy.ids else label for label in dump.found_labels}
    rates = rates_of_labels(metrics)
    on_progress(f"{len(dump.flagged):,} flagged posts: counting and drawing")
    sections = tuple(_section(dump, label, names[label], taxonomy, rates.get(label), language) for label in dump.found_labels)
    found = copies(dump)
    # Rates of "any label" are those of all labels together: they do not hold where some were left out.
    any_rates = rates_of_any_label(metrics) if _all_labels_scored(dump, metrics, manifest) else None
    network = amplification_network(dump.flagged)
    shown = {post.number for section in sections for post in section.examples} | {c.most_seen.number for c in found[:N_CLUSTERS]}
    return Report(
        dump=dump,
        made_at=datetime.now(UTC),
        version=importlib.metadata.version("narratives"),
        flagged=wilson(len(dump.flagged), dump.n_posts),
        flagged_corrected=corrected(len(dump.flagged), dump.n_posts, any_rates) if any_rates else None,
        views=count_views(post for post in dump.flagged if post.spreads),
        views_of_all=count_views(dump.flagged),
        sections=sections,
        cumulative=charts.cumulative_views([s.narrative for s in sections], names),
        network=network,
        network_map=charts.network_map(network),
        co_posting=tuple(co_posting(dump.flagged)),
        copies=tuple(found),
        spreaders=tuple(fastest_spreaders(found)),
        comparison=compare(dump, *wanted, dump.found_labels) if wanted else None,
        rows=fetch(path, shown),
        names=names,
        manifest=manifest,
        metrics=metrics,
        model_note=note,
        language=language,
    )


def _section(dump: Dump, label: str, name: str, taxonomy: Taxonomy | None, rates: Any, language: str) -> Section:
    posts = dump.of(label)
    narrative = measure(dump, label, rates)
    first = first_posters(posts)
    # Two dots are no curve.
    drawn = (
        ()
        if len(posts) < MIN_CHARTED
        else (charts.posts_over_time(narrative, name), charts.timeline(narrative, posts, first), charts.by_channel(narrative))
    )
    known = taxonomy[label] if taxonomy and label in taxonomy.ids else None
    return Section(
        narrative,
        name,
        known.definition(language) if known else "",
        (known.not_this.get(language) or known.not_this.get("en") or "") if known else "",
        tuple(posts),
        tuple(first),
        tuple(denials(label, dump.flagged)),
        tuple(chart for chart in drawn if chart is not None),
        tuple(representatives(posts, label)),
    )


def _model(dump: Dump, asked: str | None, manifest: Mapping[str, Any]) -> tuple[Taxonomy | None, dict[str, Any], str]:
    """The scoring model's taxonomy and metrics, and a sentence where a part of them cannot be used."""
    ids = [name for name, _ in dump.models.most_common() if name]
    try:
        found = bundle.load(asked)
    except (BundleError, UnknownName):
        if asked is not None:
            raise
        return None, {}, "No bundle was found: labels have no names here and counts are not corrected for the model's errors."
    if ids != [found.model_id]:
        scored_by = ", ".join(ids) or "a model that the file does not name"
        if asked is not None:
            raise BundleError(asked, f"is {found.model_id}, but the file was scored by {scored_by}; pass that model's folder")
        note = f"Scored by {scored_by}, whose measured errors are not at hand: counts are not corrected. Pass --model with its folder."
        return found.taxonomy if set(found.labels) >= set(dump.found_labels) else None, {}, note
    untested = dict(found.metrics) | {"test": {}}
    metrics, note = (dict(found.metrics), "") if found.metrics.get("test") else _of_new_labels(found.metrics)
    if note:
        return found.taxonomy, untested, note
    job = manifest.get("job")
    point = job.get("operating_point") if isinstance(job, dict) else None
    if point is None:
        note = "No manifest says at which thresholds the file was scored: counts are not corrected for the model's errors."
        return found.taxonomy, untested, note
    if point != "balanced":
        note = (
            f"Scored at the operating point {point}; error rates of each label are measured at “balanced” only: counts are not corrected."
        )
        return found.taxonomy, untested, note
    if not _all_labels_scored(dump, metrics, manifest):
        note = "Only some of the model's labels were scored: the number of posts with any label is not corrected, that of each label is."
        return found.taxonomy, metrics, note
    return found.taxonomy, metrics, ""


def _of_new_labels(metrics: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Metrics of a bundle whose figures `training/newlabels.py` measured, in the form of others; and a sentence where they say too
    little of labels in other posts."""
    own = metrics.get("new_labels", {})
    if own.get("measured_on") == "test" and not own.get("kept_labels"):
        return {**metrics, "test": own["figures"]}, ""
    if own.get("measured_on") == "test":
        how = "The model was measured on a test part for the labels that were added to it, and not for those that it kept"
    elif own:
        how = "The model was not measured on a test part, only by cross-validation on the posts it was trained on"
    else:
        how = "The model was not measured on a test part"
    return dict(metrics), f"{how}: counts are not corrected for its errors."


def _all_labels_scored(dump: Dump, metrics: Mapping[str, Any], manifest: Mapping[str, Any]) -> bool:
    """Whether a post could get every label that the model was measured on. `score --labels` keeps the columns of the others."""
    job = manifest.get("job")
    wanted = job.get("labels") if isinstance(job, dict) else None
    measured = set(metrics.get("test", {}).get("by_label", {}))
    return measured <= set((dump.labels or measured) if wanted is None else wanted)
