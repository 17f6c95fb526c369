"""Two bundles on the same posts: how much better one is, label by label and language by language, and what changed sides.

Differences are paired: intervals are percentile bootstraps over groups, in which both bundles are judged on the same draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from narratives.bundle import ModelBundle
from narratives.config import ScoreConfig
from narratives.errors import ConfigError
from narratives.records import STANCES, Post, Prediction
from narratives.scorer import Scorer
from narratives.training.corpus import NO_STANCE, BoolArray, group_of, stance_targets
from narratives.training.metrics import Figure, macro_f1, macro_f1_difference, stance_one_hot

MAX_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Difference:
    """Macro-F1 of both on the posts of a row, and the second less the first. `name` is all, a language or a label."""

    name: str
    what: str
    n_posts: int
    first: Figure
    second: Figure
    difference: Figure

    @property
    def verdict(self) -> str:
        """Which is better, where the interval of the difference leaves 0 out."""
        if self.difference.low > 0:
            return "better"
        return "worse" if self.difference.high < 0 else "no difference shown"


@dataclass(frozen=True, slots=True)
class Change:
    """A post whose label is decided otherwise by the second bundle. `mended`: the second is right."""

    post: Post
    label: str
    now: bool
    mended: bool
    first: float
    second: float


@dataclass(slots=True)
class Comparison:
    """All of it. `changes` holds at most `MAX_EXAMPLES` for each label and side, the largest moves first; the counts are of all."""

    first: str
    second: str
    labels: tuple[str, ...]
    n_posts: int
    rows: list[Difference] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    n_changes: dict[str, dict[str, int]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON; examples by the post's id and text."""
        return {
            "first": self.first,
            "second": self.second,
            "labels": list(self.labels),
            "n_posts": self.n_posts,
            "differences": [{**asdict(row), "verdict": row.verdict} for row in self.rows],
            "changed_sides": self.n_changes,
            "examples": [
                {"id": c.post.id, "text": c.post.text, "label": c.label, "now": c.now, "mended": c.mended, "p": [c.first, c.second]}
                for c in self.changes
            ],
        }


def compare(first: ModelBundle, second: ModelBundle, posts: Sequence[Post], *, config: ScoreConfig | None = None) -> Comparison:
    """Compare bundles on annotated posts, on the labels that both have.

    Raises:
        ConfigError: they share no label, or no post.
    """
    labels = tuple(i for i in first.labels if i in second.labels)
    if not labels:
        raise ConfigError(f"{first.name} and {second.name} share no label; the first has {', '.join(first.labels)}")
    if not posts:
        raise ConfigError("there is no post to compare on")
    config = config or ScoreConfig(evidence=False)
    found = [Scorer.from_bundle(bundle, config=config).predict(posts) for bundle in (first, second)]
    targets = np.array([[i in (post.labels or ()) for i in labels] for post in posts], dtype=bool)
    flagged = [_flags(predictions, labels) for predictions in found]
    groups = np.array([group_of(post) for post in posts], dtype=object)
    languages = np.array([post.language or one.language or "unknown" for post, one in zip(posts, found[0], strict=True)], dtype=object)
    result = Comparison(first.model_id, second.model_id, labels, len(posts))
    everything = np.ones(len(posts), dtype=bool)
    for name in ("all", *sorted(set(languages.tolist()))):
        here = everything if name == "all" else languages == name
        if targets[here].any():
            result.rows.append(_row(name, "labels", targets[here], [f[here] for f in flagged], groups[here]))
    stances = stance_targets(posts)
    known = stances != NO_STANCE
    if known.any() and first.calibration.has_stance and second.calibration.has_stance:
        guesses = [np.array([int(np.argmax([p.stance_probabilities.get(s, 0.0) for s in STANCES])) for p in one]) for one in found]
        result.rows.append(
            _row("all", "stance", stance_one_hot(stances[known]), [stance_one_hot(g[known]) for g in guesses], groups[known])
        )
    for i, label in enumerate(labels):
        if targets[:, i].any():
            result.rows.append(_row(label, "label", targets[:, [i]], [f[:, [i]] for f in flagged], groups))
        result.n_changes[label] = _changes(result, posts, found, targets[:, i], [f[:, i] for f in flagged], label)
    return result


def _flags(predictions: Sequence[Prediction], labels: Sequence[str]) -> BoolArray:
    return np.array([[i in p.labels for i in labels] for p in predictions], dtype=bool)


def _row(name: str, what: str, targets: BoolArray, flagged: Sequence[BoolArray], groups: np.ndarray[Any, np.dtype[Any]]) -> Difference:
    members = groups.tolist()
    first, second = (macro_f1(targets, one, members) for one in flagged)
    return Difference(name, what, len(targets), first, second, macro_f1_difference(targets, flagged[1], flagged[0], members))


def _changes(
    result: Comparison,
    posts: Sequence[Post],
    found: Sequence[Sequence[Prediction]],
    truth: BoolArray,
    flagged: Sequence[BoolArray],
    label: str,
) -> dict[str, int]:
    rows = np.flatnonzero(flagged[0] != flagged[1])
    before, after = (np.array([p.probabilities.get(label, 0.0) for p in one]) for one in found)
    counts = {"mended": 0, "broken": 0}
    for row in sorted(rows.tolist(), key=lambda r: -abs(after[r] - before[r])):
        mended = bool(flagged[1][row] == truth[row])
        counts["mended" if mended else "broken"] += 1
        if counts["mended" if mended else "broken"] <= MAX_EXAMPLES:
            now = bool(flagged[1][row])
            result.changes.append(Change(posts[row], label, now, mended, float(before[row]), float(after[row])))
    return counts
