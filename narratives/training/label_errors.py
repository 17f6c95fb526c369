"""What is likely wrong with annotated posts: labels that posts like them do not carry, copies labelled otherwise, posts in two parts of
a split.

Label errors are confident learning's (Northcutt et al. 2021, by cleanlab) on probabilities that heads over the frozen encoder give to
folds they did not see. A finding is a post to read again, not a verdict.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from narratives.errors import ConfigError, MissingDependency
from narratives.records import Post
from narratives.taxonomy import Taxonomy
from narratives.training.corpus import BoolArray, group_of, label_targets
from narratives.training.features import Pool, base_bundle, pool_with, read_texts
from narratives.training.heads import folds_of
from narratives.training.near import pairs

FloatArray = npt.NDArray[np.float32]
MIN_POSTS = 5
"""A label with fewer posts, or fewer posts without it, says too little to be doubted."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A label that a post has and likely should not (`has`), or lacks and likely should have. `probability`: that the post carries it."""

    row: int
    label: str
    has: bool
    probability: float


@dataclass(frozen=True, slots=True)
class Pair:
    """Two near-duplicates: rows of the posts, the share of word triples they have in common, and what is wrong with them."""

    row: int
    other: int
    shared: float
    problem: str


@dataclass(slots=True)
class LabelReport:
    """Findings, the likeliest first. `skipped` are labels with too few posts to be checked."""

    n_posts: int
    doubts: list[Doubt] = field(default_factory=list)
    contradictions: list[Pair] = field(default_factory=list)
    leaks: list[Pair] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def check_labels(
    posts: Sequence[Post],
    parts: Sequence[str | None],
    taxonomy: Taxonomy,
    *,
    pool: Pool | None = None,
    seed: int = 13,
    say: Callable[[str], None] = lambda _: None,
) -> LabelReport:
    """Look for likely label errors, contradicting copies and leaks.

    Args:
        parts: of each post, the part of a split it came with, or None.
        pool: features of texts; None: the shipped encoder's.

    Raises:
        ConfigError: no post.
        MissingDependency: cleanlab is not installed.
    """
    if not posts:
        raise ConfigError("there is no post to check")
    report = LabelReport(len(posts))
    targets = label_targets(posts, taxonomy)
    say("looking for near-duplicates")
    for row, other, shared in pairs([post.text for post in posts]):
        if (targets[row] != targets[other]).any() or posts[row].stance != posts[other].stance:
            what = "labels" if (targets[row] != targets[other]).any() else "stances"
            report.contradictions.append(Pair(row, other, shared, f"other {what}"))
        if parts[row] is not None and parts[other] is not None and parts[row] != parts[other]:
            report.leaks.append(Pair(row, other, shared, f"{parts[other]} and {parts[row]}"))
    # Posts of one group in two parts are a leak too, however different their words.
    report.leaks += _group_leaks(posts, parts, {(p.row, p.other) for p in report.leaks})
    say("asking heads that have not seen a post what it carries")
    n = targets.sum(axis=0)
    can = (n >= MIN_POSTS) & (len(posts) - n >= MIN_POSTS)
    report.skipped = [i for i, ok in zip(taxonomy.ids, can, strict=True) if not ok]
    if can.any():
        probabilities = _out_of_fold(posts, targets[:, can], pool or pool_with(base_bundle()), seed=seed)
        labels = [i for i, ok in zip(taxonomy.ids, can, strict=True) if ok]
        report.doubts = sorted(_doubts(probabilities, targets[:, can], labels), key=_surest_first)
    return report


def _surest_first(doubt: Doubt) -> float:
    return doubt.probability if doubt.has else 1 - doubt.probability


def _out_of_fold(posts: Sequence[Post], targets: BoolArray, pool: Pool, *, seed: int) -> FloatArray:
    """Calibrated probabilities by heads that did not see a post's fold, shape (n_posts, n_labels)."""
    from narratives.training.calibration import fit_calibration
    from narratives.training.corpus import NO_STANCE
    from narratives.training.heads import fit_heads

    texts = read_texts(posts)
    heads = fit_heads(posts, texts, pool(texts), targets, folds_of(posts, targets, seed=seed), described=None)
    none = np.zeros((len(posts), 3), dtype=np.float32)
    return fit_calibration(heads.held_out, targets, none, np.full(len(posts), NO_STANCE)).probabilities(heads.held_out)


def _doubts(probabilities: FloatArray, targets: BoolArray, labels: Sequence[str]) -> list[Doubt]:
    try:
        from cleanlab.filter import find_label_issues
    except ImportError as error:
        raise MissingDependency("cleanlab", "train") from error
    found = []
    for i, label in enumerate(labels):
        # One label at a time: has it or has it not. cleanlab's multi-label mode warns on rare labels and finds the same.
        both = np.stack([1 - probabilities[:, i], probabilities[:, i]], axis=1).astype(np.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows = find_label_issues(
                targets[:, i].astype(int), both, return_indices_ranked_by="self_confidence", filter_by="both", n_jobs=1
            )
        found += [Doubt(int(row), label, bool(targets[row, i]), float(probabilities[row, i])) for row in rows]
    return found


def _group_leaks(posts: Sequence[Post], parts: Sequence[str | None], known: set[tuple[int, int]]) -> list[Pair]:
    first: dict[str, int] = {}
    found = []
    for row, (post, part) in enumerate(zip(posts, parts, strict=True)):
        if part is None:
            continue
        other = first.setdefault(group_of(post), row)
        if parts[other] != part and (row, other) not in known:
            found.append(Pair(row, other, 0.0, f"one group in {parts[other]} and {part}"))
    return found


def as_rows(report: LabelReport, posts: Sequence[Post]) -> list[dict[str, object]]:
    """All findings, one a row: `kind` is label, contradiction or leak."""

    def place(row: int) -> dict[str, object]:
        return {"row": row + 1, "id": posts[row].id, "text": posts[row].text, "labels": list(posts[row].labels or ())}

    rows: list[dict[str, object]] = [
        {"kind": "label", **place(d.row), "label": d.label, "has": d.has, "probability": round(d.probability, 4)} for d in report.doubts
    ]
    for kind, pairs_ in (("contradiction", report.contradictions), ("leak", report.leaks)):
        rows += [
            {"kind": kind, **place(p.row), "other": place(p.other), "shared": round(p.shared, 3), "problem": p.problem} for p in pairs_
        ]
    return rows
