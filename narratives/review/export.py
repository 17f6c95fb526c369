"""From decisions to labelled posts, in the form that `narratives train` and `scripts/train.py` take."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator
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
    scratch = output.with_name(output.name + ".tmp")
    counts = _Counts()
    try:
        with scratch.open("wb") as stream:
            for row in _rows(store, copies, counts):
                stream.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            stream.flush()
            os.fsync(stream.fileno())
        if not counts.n_posts:
            raise InputError(decisions, "has no decision that stands; review some posts first")
        os.replace(scratch, output)
    finally:
        store.close()
        scratch.unlink(missing_ok=True)
    return Exported(**dataclasses.asdict(counts))


@dataclass(slots=True)
class _Counts:
    n_posts: int = 0
    n_corrected: int = 0
    n_copies: int = 0
    n_disagreements: int = 0
    n_open: int = 0


def _rows(store: Store, copies: bool, counts: _Counts) -> Iterator[dict[str, object]]:
    """Row after row, no more than one text at a time."""
    stands = {digest: by_row(store.standing(digest)) for digest in store.outputs()}
    versions = {digest: store.versions(digest) for digest in store.outputs()}
    # A file that was scored again has the same posts under another digest: of each, the version decided on last. Equal posts of one
    # version are as many posts, all written from the version in which any of them was decided on last.
    newest: dict[bytes, tuple[int, str]] = {}
    for digest in stands:
        for key, last_event in versions[digest].values():
            newest[key] = max(newest.get(key, (0, "")), (last_event, digest))
    for digest, standings in stands.items():
        items, done = store.items(digest), set[int]()
        # Of a cluster the post that a person read speaks for its copies.
        for row in sorted(standings, key=lambda r: (not any(s.choice.seen for s in standings[r]), r)):
            item = items[row]
            if newest[versions[digest][row][0]][1] != digest:
                continue
            if item.cluster in done and not copies:
                counts.n_copies += settled(standings[row]) is not None
                continue
            truth = settled(standings[row])
            if truth is None:
                counts.n_disagreements += disagree(standings[row])
                counts.n_open += not disagree(standings[row])
                continue
            done.add(item.cluster)
            counts.n_posts += 1
            counts.n_corrected += (set(truth.choice.labels), truth.choice.stance) != (set(item.predicted), item.predicted_stance)
            whole = store.item(digest, row)
            assert whole is not None
            yield _row(store.item(digest, item.cluster) or whole, whole, truth, standings[row])


def _row(first: Item, item: Item, truth: Standing, standings: list[Standing]) -> dict[str, object]:
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
