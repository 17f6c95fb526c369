"""One post as the page shows it: its text cut at the edges of evidence, its numbers, its reposts, and what was decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from narratives.addresses import safe_link
from narratives.records import STANCES, probability_column
from narratives.review.figures import disagree, settled
from narratives.review.index import Index
from narratives.review.store import Standing

MAX_SHOWN_CHARACTERS = 20_000
"""A longer text is cut on the page; a Telegram post has at most 4,096."""
MAX_COPIES_SHOWN = 200


def segments(text: str, evidence: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> list[dict[str, object]]:
    """Cut a text where evidence begins or ends.

    Evidence that does not lie where it says (text that went through a spreadsheet) is looked up by its words, or left out.

    Returns:
        Parts in order that join to the text, each `{"text", "labels"}` with the numbers of the labels it speaks for.
    """
    spans = []
    for item in evidence:
        start, end, words = item.get("start"), item.get("end"), item.get("text")
        if item.get("label") not in labels or not isinstance(start, int) or not isinstance(end, int):
            continue
        if words and text[max(0, start) : max(0, end)] != words:
            start = text.find(words)
            end = start + len(words)
        if 0 <= start < end <= len(text):
            spans.append((start, end, labels.index(item["label"])))
    cuts = sorted({0, len(text), *(start for start, _, _ in spans), *(end for _, end, _ in spans)})
    return [
        {"text": text[a:b], "labels": sorted({label for start, end, label in spans if start <= a and b <= end})}
        for a, b in zip(cuts, cuts[1:], strict=False)
    ]


def card(index: Index, row: int, reviewer: str) -> dict[str, object] | None:
    """Everything the page shows of a post; None where the file has no such row."""
    found = index.posts([row])
    if not found:
        return None
    post = found[0]
    labels = index.scored.label_ids
    text = str(post["text"] or "")
    shown = text[:MAX_SHOWN_CHARACTERS]
    standings = index.store.standing(index.scored.digest, row)
    own = next((s for s in standings if s.reviewer == reviewer), None)
    others = [s for s in standings if s.reviewer != reviewer and s.reviewed]
    # A second reading is blind: others' decisions show once the reviewer has one.
    open_to_see = own is not None and own.reviewed
    return {
        "row": row,
        "id": post["id"],
        "text": segments(shown, post["evidence"] or [], labels),  # type: ignore[arg-type]
        "cut": len(text) - len(shown),
        "channel": post["channel"],
        "published": post["published_at"],
        "url": safe_link(post["url"]),
        "views": post["views"],
        "forwards": post["forwards"],
        "forwarded_from": post["forwarded_from"],
        "language": post["language"],
        "labels": [i for i in labels if i in (post["labels"] or [])],  # type: ignore[operator]
        "stance": post["stance"],
        "probabilities": [post[probability_column(i)] for i in labels],
        "stances": {name: post[probability_column(name)] for name in STANCES},
        "screened": bool(post["screened"]),
        "truncated": bool(post["truncated"]),
        "model": post["model"],
        "cluster": _cluster(index, row),
        "decision": decision(own),
        "others": [decision(s) for s in others] if open_to_see else [],
        "n_others": len(others),
        "disagree": open_to_see and disagree(standings),
        "settled": settled(standings) is not None if others else None,
    }


def _cluster(index: Index, row: int) -> dict[str, object] | None:
    copies = index.cluster_of(row)
    if not copies:
        return None
    views = [v for _, _, _, v, _ in copies if v is not None]
    shown = [
        {"row": r, "channel": channel, "published": published, "views": v} for r, channel, published, v, _ in copies[:MAX_COPIES_SHOWN]
    ]
    return {
        "size": len(copies),
        "channels": len({channel for _, channel, _, _, _ in copies if channel}),
        "views": sum(views) if views else None,
        "first": shown[0],
        "copies": shown,
        "labels_differ": len({bits for *_, bits in copies}) > 1,
    }


def decision(standing: Standing | None) -> dict[str, object] | None:
    """A decision for the page."""
    if standing is None:
        return None
    choice = standing.choice
    return {
        "event": standing.event, "reviewer": standing.reviewer, "at": standing.at.isoformat(), "verdict": choice.verdict,
        "labels": list(choice.labels), "stance": choice.stance, "note": choice.note, "settles": choice.settles,
    }  # fmt: skip
