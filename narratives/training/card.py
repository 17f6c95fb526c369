"""The model card (Mitchell et al. 2019), written from what was measured. No figure in it is typed by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from narratives.bundle import INT8_GRAPH, ModelBundle
from narratives.errors import BundleError
from narratives.training.metrics import Figure

MIN_PROMISED = 45
"""Fewer posts cannot show a recall of 0.95 with 90% confidence, even if none is missed: 0.95 ** 44 > 0.1."""


_RUNS = {INT8_GRAPH: "the int8 graph in onnxruntime, the same on every CPU"}


def model_card(bundle: ModelBundle) -> str:
    """README.md of a bundle that was measured."""
    if "new_labels" in bundle.metrics:
        from narratives.training.label_card import label_card

        return "\n".join([label_card(bundle), *_other_set_lines(bundle.metrics.get("other_sets") or {})])
    metrics, config = bundle.metrics, bundle.train_config
    test: Mapping[str, Any] = metrics["test"]
    n_posts, n_groups = metrics["n_posts"], metrics["n_groups"]
    lines = [
        f"# {bundle.name}",
        "",
        f"Gives posts {len(bundle.labels)} narrative labels and a stance (endorses, reports, refutes). It triages; people "
        f"judge. Base model: {bundle.base_model}.",
        "",
        "## Made with",
        "",
        f"    {metrics['command'] or 'narratives train'}",
        "",
        f"Seed {config.seed}; {metrics['training_minutes']} minutes; {n_posts['train']} posts to train on, {n_posts['validation']} to "
        f"choose epoch, calibration and thresholds, {n_posts['test']} to measure on ({n_groups['train']}, {n_groups['validation']} and "
        f"{n_groups['test']} events; no event is in two parts). Settings: `train_config.json`.",
        "",
        "## Measured on the test part",
        "",
        f"Backend {metrics['backend']}. 95% intervals from a bootstrap over events.",
        "",
        "| posts | n | labels, macro-F1 | stance, macro-F1 (posts with a label) |",
        "|---|---|---|---|",
        *(_row(name, part) for name, part in (("all", test["all"]), *test["by_language"].items())),
        "",
        "| label | n | precision | recall | F1 | average precision | calibration error | threshold |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for label, threshold in zip(bundle.labels, bundle.calibration.thresholds, strict=True):
        figures = test["by_label"][label]
        cells = [_number(figures[k]) for k in ("precision", "recall")] + [_figure(figures["f1"])]
        cells += [_number(figures[k]) for k in ("average_precision", "calibration_error")] + [f"{threshold:.2f}"]
        lines.append(f"| `{label}` | {figures['n_positive']} | {' | '.join(cells)} |")
    lines += ["", "| stance | n | precision | recall | F1 |", "|---|---|---|---|---|"]
    for stance, figures in test["by_stance"].items():
        cells = [_number(figures["precision"]), _number(figures["recall"]), _figure(figures["f1"])]
        lines.append(f"| `{stance}` | {figures['n_positive']} | {' | '.join(cells)} |")
    alarms, endorsed = test["false_alarms"], test["label_and_endorses"]
    lines += [
        "",
        f"False alarms: {alarms['n_flagged']} of {alarms['n_posts_without_label']} posts without a label were flagged; "
        "in the project's own corpus most of these are written to look alike.",
        *_background_lines(metrics.get("background")),
        f"Flagged as `endorses`: {endorsed['n_flagged']} posts; label and stance are both right in {_number(endorsed['precision'])}.",
        "",
        *_linear_lines(metrics.get("linear_part")),
        *_point_lines(bundle),
        *_screen_lines(metrics.get("screen")),
        *_other_set_lines(metrics.get("other_sets") or {}),
        *_behaviour_lines(metrics.get("behaviour") or []),
        *_evidence_lines(metrics.get("evidence") or []),
        "## Backends against float32",
        "",
        "| backend | precision | decisions that differ | largest difference of a probability |",
        "|---|---|---|---|",
        *(
            f"| {_RUNS.get(name, name)} | {a['precision']} | {a['flipped_share']:.2%} of {a['n_decisions']} "
            f"| {a['largest_probability_difference']:.4f} |"
            for name, a in bundle.agreement.items()
        ),
        "",
        "## What it was trained on, and what that means",
        "",
        "If the posts are those of `data/posts/`: all of them are **synthetic**, written for this project and read twice; see "
        "`data/README.md`. Writers imitate; real posts are stranger. The figures above are for posts of the same making, on events not "
        "seen in training; expect less on real ones, and review what it flags.",
        "",
        "## Limits",
        "",
        "- A label says that a post carries a narrative, not that its author means harm, and not that it is false.",
        "- Stance is read from the text alone: irony without a sign of it is taken at its word.",
        "- Kazakh in Latin letters is read in Cyrillic ones; it and Kazakh without its special letters are read less surely.",
        "- Pictures, voice and links are not read.",
        "- Not for decisions about people: no moderation, sanction or listing without a person who has read the post.",
        "",
    ]
    return "\n".join(lines)


def add_to_card(bundle: ModelBundle, key: Literal["other_sets", "behaviour", "evidence"], value: object) -> ModelBundle:
    """Keep figures measured after training in a saved bundle's metrics and card; what the model computes stays as it is.

    Raises:
        BundleError: the bundle was never saved.
    """
    if bundle.path is None:
        raise BundleError(bundle.name, "is not saved anywhere; save it before adding to its card")
    metrics = {**bundle.metrics, key: {**bundle.metrics.get(key, {}), **value} if isinstance(value, dict) else value}
    changed = dataclasses.replace(bundle, metrics=metrics)
    return dataclasses.replace(changed, card=model_card(changed)).save_pretrained(bundle.path, extra_files=bundle.own_files())


def _linear_lines(figures: Mapping[str, Any] | None) -> list[str]:
    if not figures or not figures["weight_of_labels"]:
        return []
    both = figures["validation_average_precision"]
    return [
        f"A TF-IDF model is joined: its label logits count {figures['weight_of_labels']:g} times, its stance logits "
        f"{figures['weight_of_stance']:g} times. Mean average precision on validation posts: {both['encoder']:.3f} without, "
        f"{both['joined']:.3f} with it.",
        "",
    ]


def _other_set_lines(sets: Mapping[str, Any]) -> list[str]:
    if not sets:
        return []
    lines = [
        "## Measured on other sets",
        "",
        "Not used for training, calibration or any choice; measured once the bundle was made.",
        "",
        "| set | posts | n | labels, macro-F1 | stance, macro-F1 | right of those flagged as `endorses` | false alarms |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, figures in sets.items():
        for part_name, part in (("all", figures["all"]), *figures["by_language"].items()):
            cells = [_figure(part.get("labels_macro_f1")), _figure(part.get("stance_macro_f1")), "", ""]
            if part_name == "all":
                alarms = figures["false_alarms"]
                cells[2:] = [
                    _number(figures["label_and_endorses"]["precision"]),
                    f"{alarms['n_flagged']} of {alarms['n_posts_without_label']}",
                ]
            lines.append(f"| {name} | {part_name} | {part['n_posts']} | {' | '.join(cells)} |")
    return [*lines, ""]


def _behaviour_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    return [
        "## Behaviour",
        "",
        "Posts of the test part that the bundle flags, changed in ways whose effect is known (CheckList, Ribeiro et al. 2020); and what "
        "a change costs in macro-F1 of labels on all posts it applies to, flagged or not.",
        "",
        "| change | as it should be [95%] | macro-F1, before to after | lost [95%] |",
        "|---|---|---|---|",
        *(
            f"| {row['change']} | {row['n_right']} of {row['n']}, {row['n_right'] / max(1, row['n']):.0%} "
            f"[{row['low']:.0%}, {row['high']:.0%}] | {_change(row.get('macro_f1'))} |"
            for row in rows
        ),
        "",
    ]


def _change(figures: Mapping[str, Any] | None) -> str:
    if not figures:
        return "| "
    return f"{figures['before']['value']:.3f} to {figures['after']['value']:.3f} | {Figure(**figures['lost'])}"


def _evidence_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    return [
        "## Evidence",
        "",
        "Test posts of two sentences or more in which a reader marked those that carry each label; how often the heaviest sentence is one.",
        "",
        "| labels | right [95%] | a sentence drawn at random |",
        "|---|---|---|",
        *(
            f"| {row['labels']} | {row['n_right']} of {row['n']}, {row['n_right'] / max(1, row['n']):.0%} "
            f"[{row['low']:.0%}, {row['high']:.0%}] | {row['chance']:.0%} |"
            for row in rows
        ),
        "",
    ]


def _point_lines(bundle: ModelBundle) -> list[str]:
    points = bundle.metrics.get("operating_points") or {}
    if not bundle.calibration.operating_points or not points:
        return []
    own = [i for i, has_own in zip(bundle.labels, bundle.calibration.recall_guaranteed, strict=True) if has_own]
    whose = f"each of {', '.join(f'`{i}`' for i in own)}, and the other labels together" if own else "all labels together, of none alone"
    promise = (
        f"promises to find at least 95% with 90% confidence (learn then test) of {whose}, as far as new posts are like the validation "
        "posts and those were independent; posts of one event are not quite."
    )
    if bundle.metrics["validation"]["all"]["labels_macro_f1"]["n"] < MIN_PROMISED:
        promise = f"promises nothing: that takes {MIN_PROMISED} validation posts with a label; it keeps all there are."
    return [
        "## Operating points",
        "",
        "Chosen on validation posts, measured on the test part; precision and recall of single labels, all labels together.",
        "",
        "| operating point | precision | recall | held-out real posts flagged |",
        "|---|---|---|---|",
        *(
            f"| `{name}` | {_number(p['precision'])} | {_number(p['recall'])} | "
            f"{'–' if p['real_flagged_share'] is None else format(p['real_flagged_share'], '.1%')} |"
            for name, p in points.items()
        ),
        "",
        f"`high_recall` {promise} `high_precision` aims at a precision of 90%.",
        "",
    ]


def _screen_lines(screen: Mapping[str, Any] | None) -> list[str]:
    if not screen:
        return []
    return [
        "## Screen",
        "",
        "A linear model drops posts that surely carry nothing before the encoder reads them (`narratives score`; `--no-screen` switches it "
        f"off). Its threshold drops {screen['n_missed']} of the {screen['n_flagged']} validation posts that the whole model flags: of new "
        f"posts like them at most {screen['missed_at_most']:.1%}, with {screen['confidence']:.0%} confidence. Measured afterwards:",
        "",
        "| posts | n | read by the encoder | flagged by the whole model | of these dropped |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {s['n_posts']} | {s['n_passed']} ({s['n_passed'] / max(1, s['n_posts']):.1%}) | {s['n_flagged']} | "
            f"{s['n_missed']} |"
            for name, s in screen["sets"].items()
        ),
        "",
        "Real posts that the whole model flags and the screen drops are mostly false alarms; in the annotated sets they need not be.",
        "",
    ]


def _background_lines(background: Mapping[str, Any] | None) -> list[str]:
    if not background or not background["held_out"]:
        return ["No real post was trained on."]
    lines = [
        f"{background['n_train']} real posts, read by path and not shipped, were trained on as posts without a label; "
        f"{background['n_validation']} more set thresholds. On the held-out half of the sources, flagged:"
    ]
    for name, found in background["held_out"].items():
        share = found["n_flagged"] / max(1, found["n_posts"])
        # Bundles made before the screen have no such figure.
        screened = found.get("n_flagged_screened")
        after = "" if screened is None else f", {screened} ({screened / max(1, found['n_posts']):.2%}) once screened"
        lines.append(f"`{name}` {found['n_flagged']} of {found['n_posts']} ({share:.1%}){after}, {found['n_endorses']} as `endorses`;")
    return [*lines, "some of these may rightly be flagged: nobody annotated them."]


def _row(name: str, part: Mapping[str, Any]) -> str:
    return f"| {name} | {part['n_posts']} | {_figure(part.get('labels_macro_f1'))} | {_figure(part.get('stance_macro_f1'))} |"


def _figure(figure: Mapping[str, Any] | None) -> str:
    return str(Figure(**figure)) if figure else "–"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
