"""The page of an evaluation: one HTML file with its charts inside, no script, nothing loaded from anywhere, all of the posts' text
escaped."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from typing import Any

from narratives.errors import MissingDependency
from narratives.training.evaluation import Error, Evaluation
from narratives.training.metrics import Figure

MAX_TEXT = 600
_BLUE, _GREY, _RED, _GREEN = "#2b5c8a", "#9aa5b1", "#b3423a", "#2f7d55"


def page(evaluation: Evaluation) -> str:
    """The page as text.

    Raises:
        MissingDependency: altair or vl-convert is not installed.
    """
    e = evaluation
    parts = [
        _head(e),
        _section("Labels", _label_table(e), "F1 with 95% intervals from a bootstrap over groups; PR-AUC is average precision."),
        _section("F1 of each label", _svg(_f1_chart(e)), "A bar is the 95% interval. Where it is long, few posts carry the label."),
        _section(
            "Are its probabilities what they say?",
            _svg(_calibration_chart(e)),
            "Of posts given a probability of 0.8, eight in ten should carry the label: dots on the line. The larger a dot, the more posts.",
        ),
        _section("Precision and recall at every threshold", _svg(_curve_chart(e)), "A dot is where the bundle's threshold stands."),
        _section(
            "What is taken for what",
            _confusion(e),
            "Rows: a label that was missed. Columns: what was wrongly given instead; (none): nothing was.",
        ),
        _section("Languages", _language_table(e), ""),
        _section(
            "Errors worth reading",
            "".join(_error(error) for error in e.errors) or "<p>No error at all.</p>",
            "The errors it was surest of, labels in turn. Some will be slips of annotation, some gaps in a definition.",
        ),
    ]
    body = "\n".join(parts)
    return '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">' + (
        # No script may run, whatever a post holds: the escaping is the first wall, this the second.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
        f"<title>{_t(e.model)}</title><style>{_STYLE}</style></head><body><main>\n{body}\n</main></body></html>\n"
    )


def _t(text: object) -> str:
    """Escaped, control characters and direction marks made visible or left out."""
    return html.escape("".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in str(text)))


def _head(e: Evaluation) -> str:
    everything = e.figures["all"]
    score = everything.get("labels_macro_f1")
    alarms = e.figures["false_alarms"]
    tiles = [
        ("posts", f"{everything['n_posts']:,}", ""),
        ("labels, macro-F1", f"{score['value']:.3f}" if score else "–", f"95% {score['low']:.3f} to {score['high']:.3f}" if score else ""),
        (
            "posts without a label that it flags",
            f"{alarms['n_flagged']} of {alarms['n_posts_without_label']}" if alarms["n_posts_without_label"] else "–",
            "false alarms",
        ),
    ]
    if stance := everything.get("stance_macro_f1"):
        tiles.insert(2, ("stance, macro-F1", f"{stance['value']:.3f}", f"95% {stance['low']:.3f} to {stance['high']:.3f}"))
    cells = "".join(
        f'<div class="tile"><b>{_t(value)}</b><span>{_t(what)}</span><small>{_t(note)}</small></div>' for what, value, note in tiles
    )
    return f'<header><h1>{_t(e.model)}</h1><p>{_t(e.title)}</p></header><div class="tiles">{cells}</div>'


def _section(title: str, inner: str, note: str) -> str:
    return f"<section><h2>{_t(title)}</h2>{f'<p class=note>{_t(note)}</p>' if note else ''}{inner}</section>"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{_t(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{_t(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _label_table(e: Evaluation) -> str:
    rows = []
    for label in e.labels:
        one = e.figures["by_label"][label]
        f1 = str(Figure(**one["f1"])) if one["f1"] else "–"
        rows.append(
            (
                label,
                str(one["n_positive"]),
                *(_n(one[k]) for k in ("precision", "recall")),
                f1,
                _n(one["average_precision"]),
                _n(one["calibration_error"]),
            )
        )
    for name, one in e.figures["by_stance"].items():
        if one["n_positive"]:
            rows.append(
                (f"stance: {name}", str(one["n_positive"]), _n(one["precision"]), _n(one["recall"]), str(Figure(**one["f1"])), "", "")
            )
    return _table(("label", "posts", "precision", "recall", "F1", "PR-AUC", "calibration error"), rows)


def _language_table(e: Evaluation) -> str:
    rows = [
        (name, str(part["n_posts"]), str(Figure(**part["labels_macro_f1"])) if "labels_macro_f1" in part else "–")
        for name, part in e.figures["by_language"].items()
    ]
    return _table(("language", "posts", "labels, macro-F1"), rows)


def _confusion(e: Evaluation) -> str:
    given = [*e.labels, "(none)"]
    largest = max((n for row in e.confusion.values() for n in row.values()), default=1)
    used = [name for name in given if any(name in row for row in e.confusion.values())]
    lines = []
    for true in given:
        row = e.confusion.get(true, {})
        if not row:
            continue
        cells = "".join(
            f'<td class="n" style="background:rgba(179,66,58,{0.6 * row.get(name, 0) / largest:.2f})">{row.get(name, "") or ""}</td>'
            for name in used
        )
        lines.append(f"<tr><th>{_t(true)}</th>{cells}</tr>")
    if not lines:
        return "<p>Nothing was missed, and no post without a label was flagged.</p>"
    head = "".join(f'<th class="slant"><span>{_t(name)}</span></th>' for name in used)
    return (
        f'<div class="wide"><table class="confusion"><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
    )


def _error(error: Error) -> str:
    text = error.post.text.strip()
    shown = text[:MAX_TEXT] + (" …" if len(text) > MAX_TEXT else "")
    kind = "missed" if error.missed else "false alarm"
    other = ", ".join(error.also) or "none"
    said = f"the model gave: {other}" if error.missed else f"annotators gave: {other}"
    meta = f"{error.label} · {error.probability:.2f} against a threshold of {error.threshold:.2f} · {said}"
    name = f" · {error.post.id}" if error.post.id else ""
    return (
        f'<article class="{"miss" if error.missed else "alarm"}"><p class="meta"><b>{_t(kind)}</b> {_t(meta)}{_t(name)}</p>'
        f'<p dir="auto">{_t(shown)}</p></article>'
    )


def _n(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


# ---- charts: Vega-Lite, drawn here, so that the page needs no script ---------------------------------------------------------


def _svg(spec: dict[str, Any]) -> str:
    try:
        import altair
        import vl_convert
    except ImportError as error:
        raise MissingDependency(error.name or "altair", "report") from error
    chart = altair.Chart.from_dict({"$schema": altair.SCHEMA_URL, "config": _CONFIG, **spec}, validate=False)
    return f'<div class="chart">{vl_convert.vegalite_to_svg(json.dumps(chart.to_dict(validate=False)))}</div>'


_CONFIG = {
    "font": "system-ui, sans-serif",
    "background": "transparent",
    "view": {"stroke": None},
    "axis": {
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "gridColor": "#e6e9ed",
        "domainColor": _GREY,
        "labelLimit": 240,
    },
    "header": {"labelFontSize": 12, "title": None},
}


def _f1_chart(e: Evaluation) -> dict[str, Any]:
    rows = [
        {"label": label, "F1": one["f1"]["value"], "low": one["f1"]["low"], "high": one["f1"]["high"]}
        for label in e.labels
        if (one := e.figures["by_label"][label])["f1"]
    ]
    y = {"field": "label", "type": "nominal", "sort": {"field": "F1", "order": "descending"}, "title": None}
    scale = {"domain": [0, 1]}
    return {
        "width": 600,
        "padding": {"left": 24, "top": 5, "right": 5, "bottom": 5},
        "height": {"step": 26},
        "data": {"values": rows},
        "layer": [
            {"mark": {"type": "rule", "strokeWidth": 6, "color": "#c9d6e3", "strokeCap": "round"},
             "encoding": {"y": y, "x": {"field": "low", "type": "quantitative", "scale": scale, "title": "F1"}, "x2": {"field": "high"}}},
            {"mark": {"type": "point", "filled": True, "size": 90, "color": _BLUE, "opacity": 1},
             "encoding": {"y": y, "x": {"field": "F1", "type": "quantitative", "scale": scale}}},
        ],
    }  # fmt: skip


def _facets(values: list[dict[str, Any]], layers: list[dict[str, Any]], x: str, y: str) -> dict[str, Any]:
    axis = {"domain": [0, 1]}
    encoding = {
        "x": {"field": "x", "type": "quantitative", "scale": axis, "title": x, "axis": {"values": [0, 0.5, 1]}},
        "y": {"field": "y", "type": "quantitative", "scale": axis, "title": y, "axis": {"values": [0, 0.5, 1]}},
    }
    return {
        "data": {"values": values},
        "facet": {"field": "label", "type": "nominal"},
        "columns": 4,
        "spec": {
            "width": 165,
            "height": 150,
            "layer": [{**layer, "encoding": {**encoding, **layer.get("encoding", {})}} for layer in layers],
        },
    }


def _calibration_chart(e: Evaluation) -> dict[str, Any]:
    values: list[dict[str, Any]] = []
    for label, bins in e.calibration.items():
        values += [{"label": label, "x": b.probability, "y": b.share, "n": b.n, "kind": "bin"} for b in bins]
        values += [{"label": label, "x": i, "y": i, "n": 0, "kind": "ideal"} for i in (0, 1)]
    layers: list[dict[str, Any]] = [
        {"transform": [{"filter": "datum.kind == 'ideal'"}
], "mark": {"type": "line", "color": _GREY, "strokeDash": [3, 3], "strokeWidth": 1}},
        {"transform": [{"filter": "datum.kind == 'bin'"}], "mark": {"type": "point", "filled": True, "color": _BLUE, "opacity": 0.85},
         "encoding": {"size": {"field": "n", "type": "quantitative", "scale": {"type": "sqrt", "range": [15, 220]}, "legend": None}}},
    ]  # fmt: skip
    return _facets(values, layers, "probability", "share that carries it")


def _curve_chart(e: Evaluation) -> dict[str, Any]:
    values: list[dict[str, Any]] = []
    for label, curve in e.curves.items():
        values += [{"label": label, "x": r, "y": p, "i": i, "kind": "curve"} for i, (r, p) in enumerate(curve)]
        one = e.figures["by_label"][label]
        if one["precision"] is not None and one["recall"] is not None:
            values.append({"label": label, "x": one["recall"], "y": one["precision"], "i": 0, "kind": "here"})
    layers: list[dict[str, Any]] = [
        {"transform": [{"filter": "datum.kind == 'curve'"}], "mark": {"type": "line", "color": _GREEN, "strokeWidth": 2},
         "encoding": {"order": {"field": "i", "type": "quantitative"}}},
        {"transform": [{"filter": "datum.kind == 'here'"}
], "mark": {"type": "point", "filled": True, "color": _RED, "size": 60, "opacity": 1}},
    ]  # fmt: skip
    return _facets(values, layers, "recall", "precision")


_STYLE = """
:root{--ink:#1d2733;--soft:#5b6773;--line:#dfe4ea;--paper:#fff;--ground:#f5f7f9}
*{box-sizing:border-box}body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:960px;margin:0 auto;padding:32px 20px 80px}h1{font-size:22px;margin:0;overflow-wrap:anywhere}header p{margin:2px 0 18px;
color:var(--soft)}
h2{font-size:17px;margin:0 0 4px}section{background:var(--paper);border:1px solid var(--line);border-radius:10px;padding:20px 22px;
margin:16px 0}
.note{color:var(--soft);margin:0 0 14px;font-size:13.5px}.tiles{display:flex;gap:12px;flex-wrap:wrap}
.tile{flex:1 1 180px;background:var(--paper);border:1px solid var(--line);border-radius:10px;padding:14px 18px;display:flex;
flex-direction:column}
.tile b{font-size:26px;font-weight:600;font-variant-numeric:tabular-nums}.tile span{color:var(--ink)}.tile small{color:var(--soft);
min-height:1.4em}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:13.5px;font-variant-numeric:tabular-nums}th,td{padding:5px 12px 5px 0;
text-align:right;
border-bottom:1px solid var(--line);white-space:nowrap}th:first-child,td:first-child{text-align:left}thead th{color:var(--soft);
font-weight:500}
.confusion td.n{text-align:center;padding:5px 8px;min-width:34px}.confusion tbody th{font-weight:500;text-align:left}
.slant{height:150px;vertical-align:bottom;padding:0 8px 6px}.slant span{writing-mode:vertical-rl;transform:rotate(180deg)}
.chart svg{max-width:100%;height:auto}article{border-left:3px solid var(--line);padding:2px 0 2px 14px;
margin:16px 0}article p{margin:2px 0;white-space:pre-wrap;
overflow-wrap:anywhere}article .meta{color:var(--soft);font-size:13px}article.alarm{border-color:#b3423a}article.miss{border-color:#2b5c8a}
"""
