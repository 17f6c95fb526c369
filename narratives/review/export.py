"""From decisions to labelled posts, in the form that `narratives train` and `scripts/train.py` take."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import orjson

from narratives.errors import InputError
from narratives.review.figures import by_row, disagree, settled
from narratives.review.store import Item, Standing, Store
from narratives.text.normalize import normalize


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and what was left out and why. Copies are reposts of a post that was written."""

    n_posts: int
    n_corrected: int
    n_copies: int
    n_disagreements: int
    n_open: int


def export(decisions: str | Path, output: str | Path, *, copies: bool = False, overwrite: bool = False) -> Exported:
    """Write each post whose labels stand: accepted, rejected or corrected, and not in dispute.

    A row has `id, text, lang, labels, stance, group`, and for people `channel, published_at, url, note, reviewers, predicted,
    predicted_stance`. `group` names the repost cluster, so that no copy is trained on and tested on.

    Args:
        copies: also write the reposts that were reviewed with their first; a text then counts as often as it was posted.

    Raises:
        InputError: no such file, no decisions in it, or the output exists.
    """
    decisions, output = Path(decisions), Path(output)
    if not decisions.is_file():
        raise InputError(decisions, "no such file; `narratives review` writes it beside the output it reviews")
    if output.exists() and not overwrite:
        raise InputError(output, "exists; choose another name or pass --overwrite")
    store = Store(decisions)
    rows: list[dict[str, object]] = []
    n_corrected = n_copies = n_disagreements = n_open = 0
    try:
        for digest in store.outputs():
            items = store.items(digest)
            done: set[int] = set()
            # Of a cluster the post that a person read speaks for its copies.
            standings = by_row(store.standing(digest))
            for row in sorted(standings, key=lambda r: (not any(s.choice.seen for s in standings[r]), r)):
                truth = settled(standings[row])
                item = items[row]
                if truth is None:
                    n_disagreements += disagree(standings[row])
                    n_open += not disagree(standings[row])
                elif item.cluster in done and not copies:
                    n_copies += 1
                else:
                    done.add(item.cluster)
                    corrected = (set(truth.choice.labels), truth.choice.stance) != (set(item.predicted), item.predicted_stance)
                    n_corrected += corrected
                    rows.append(_row(items, item, truth, standings[row]))
    finally:
        store.close()
    if not rows:
        raise InputError(decisions, "has no decision that stands; review some posts first")
    scratch = output.with_name(output.name + ".tmp")
    with scratch.open("wb") as stream:
        stream.writelines(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(scratch, output)
    return Exported(len(rows), n_corrected, n_copies, n_disagreements, n_open)


def _row(items: dict[int, Item], item: Item, truth: Standing, standings: list[Standing]) -> dict[str, object]:
    first = items.get(item.cluster, item)
    key = " ".join(normalize(first.text).text.lower().split())
    return {
        "id": item.post_id,
        "text": item.text,
        "lang": item.language,
        "labels": list(truth.choice.labels),
        "stance": truth.choice.stance,
        "group": "copies-" + hashlib.sha256(key.encode()).hexdigest()[:16],
        "channel": item.channel,
        "published_at": item.published_at,
        "url": item.url,
        "note": truth.choice.note,
        "reviewers": sorted({s.reviewer for s in standings if s.reviewed}),
        "predicted": list(item.predicted),
        "predicted_stance": item.predicted_stance,
    }
