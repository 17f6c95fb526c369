"""The card of a bundle made by `newlabels.py`. No figure in it is typed by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from narratives.bundle import ModelBundle
from narratives.training.metrics import Figure

FEW = 16
"""With fewer posts a label's figures say little, and the card says so."""


def label_card(bundle: ModelBundle) -> str:
    """README.md of a bundle trained on somebody's own labels."""
    m: Mapping[str, Any] = bundle.metrics["new_labels"]
    figures, n_by_label = m["figures"], m["n_by_label"]
    kept = m["kept_labels"]
    how = (
        f"on {m['n_posts']['test']} posts held out by a hash of their group"
        if m["measured_on"] == "test"
        else f"by cross-validation on the {m['n_posts']['train']} posts themselves: these chose settings too, so expect a little less"
    )
    lines = [
        f"# {bundle.name}",
        "",
        f"Gives posts {len(bundle.labels)} labels{'' if bundle.calibration.has_stance else ', without a stance'}. "
        f"Base model: {bundle.base_model}. It triages; people judge.",
        "",
        "## Made with",
        "",
        f"    {m['command'] or 'narratives train'}",
        "",
        f"Budget {m['budget']}; {m['training_minutes']} minutes; {m['n_posts']['train']} posts to train on.",
        *_kept_lines(kept, m["started_from"]),
        "",
        "## Measured",
        "",
        f"Measured {how}. 95% intervals from a bootstrap over groups.",
        "",
        "| posts | n | labels, macro-F1 |",
        "|---|---|---|",
    ]
    for name, part in (("all", figures["all"]), *figures["by_language"].items()):
        score = part.get("labels_macro_f1")
        lines.append(f"| {name} | {part['n_posts']} | {Figure(**score) if score else '–'} |")
    lines += ["", "| label | posts trained on | precision | recall | F1 | average precision |", "|---|---|---|---|---|---|"]
    for label in n_by_label:
        one = figures["by_label"][label]
        cells = [_number(one["precision"]), _number(one["recall"]), str(Figure(**one["f1"])) if one["f1"] else "–"]
        lines.append(f"| `{label}` | {n_by_label[label]} | {' | '.join(cells)} | {_number(one['average_precision'])} |")
    return "\n".join([*lines, "", *_few_lines(n_by_label), *_choice_lines(m["choices"]), *_limit_lines()]) + "\n"


def _kept_lines(kept: list[str], start: str | None) -> list[str]:
    if not kept:
        return []
    return [
        "",
        f"Started from `{start}`: its encoder, its stance and its {len(kept)} labels ({', '.join(f'`{i}`' for i in kept)}) are as before, "
        "so what it said of them it still says. Its screen was left out: it would drop posts that carry a new label.",
    ]


def _few_lines(n_by_label: Mapping[str, int]) -> list[str]:
    none = [i for i, n in n_by_label.items() if n == 0]
    few = [i for i, n in n_by_label.items() if 0 < n < FEW]
    lines = []
    if none:
        lines += [
            f"**Zero-shot**: {', '.join(f'`{i}`' for i in none)} had no post; the definition alone speaks, and nobody measured it.",
            "",
        ]
    if few:
        lines += [f"Fewer than {FEW} posts: {', '.join(f'`{i}`' for i in few)}. Take their figures as a hint.", ""]
    return lines


def _choice_lines(choices: Mapping[str, Any]) -> list[str]:
    labels = choices["labels"]
    lines = [
        "## Chosen by cross-validation",
        "",
        f"Definitions count {labels['definitions']:g}, strength of the posts {labels['strength']:g}, TF-IDF {labels['tf_idf']:g}; merit "
        f"{labels['merit']['encoder']:.3f} without, {labels['merit']['joined']:.3f} with TF-IDF (average precision, or minus log loss).",
    ]
    if tuned := choices.get("tuned"):
        won = tuned["tuned"] > tuned["frozen"]
        lines.append(
            f"A tuned encoder had {tuned['tuned']:.3f}, the encoder as it is {tuned['frozen']:.3f} on a held-out fold: "
            f"{'the tuned one' if won else 'the one as it is'} is used."
        )
    return [*lines, ""]


def _limit_lines() -> list[str]:
    return [
        "## Limits",
        "",
        "- Figures are for posts like those it was trained on. Dumps have many more posts without a label: check what is flagged there.",
        "- A label says that a post carries something, not that its author means harm, and not that it is false.",
        "- Not for decisions about people: no moderation, sanction or listing without a person who has read the post.",
    ]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
