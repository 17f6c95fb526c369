"""What decisions say so far: precision of each label, agreement of reviewers, where they disagree, and what stands in the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from narratives.agreement import alpha_of_units
from narratives.review.store import Item, Standing, Store


@dataclass(frozen=True, slots=True)
class Precision:
    """Of `n` posts with the label that a person read, `n_right` keep it; `low` to `high` is Wilson's 95% interval."""

    n_right: int
    n: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Over what stands now. Reposts count once and bulk decisions not at all: only what a person had before them.

    `alpha`, `n_twice` and `n_same` are of posts that two or more reviewers read, each by their last decision that was not made to settle
    a disagreement; by label and "stance" (over posts to which all of them gave a label).
    """

    precision: Mapping[str, Precision]
    stance: Precision
    n_read: int
    n_bulk: int
    n_twice: int
    n_same: int
    n_disagreements: int
    alpha: Mapping[str, float | None]
    reviewers: Mapping[str, int]


def settled(standings: Sequence[Standing]) -> Standing | None:
    """What is taken as the truth of one post: the last decision that settled it; else that of its reviewers where they agree.

    None where they disagree, or nobody reviewed it.
    """
    reviewed = _counted(standings)
    if settling := [s for s in reviewed if s.choice.settles]:
        return max(settling, key=lambda s: s.event)
    said = {_said(s) for s in reviewed}
    return max(reviewed, key=lambda s: (s.choice.seen, s.event)) if len(said) == 1 else None


def disagree(standings: Sequence[Standing]) -> bool:
    """Whether reviewers gave different labels or stances and nobody settled it."""
    reviewed = _counted(standings)
    return len({_said(s) for s in reviewed}) > 1 and not any(s.choice.settles for s in reviewed)


def _counted(standings: Sequence[Standing]) -> list[Standing]:
    """Decisions that count: what was decided in bulk or along with a copy speaks only where nobody read the post."""
    reviewed = [s for s in standings if s.reviewed]
    return [s for s in reviewed if s.choice.seen or s.choice.settles] if any(s.choice.seen for s in reviewed) else reviewed


def _said(standing: Standing) -> tuple[frozenset[str], str | None]:
    return frozenset(standing.choice.labels), standing.choice.stance


def by_row(standings: Iterable[Standing]) -> dict[int, list[Standing]]:
    rows: dict[int, list[Standing]] = defaultdict(list)
    for standing in standings:
        rows[standing.row].append(standing)
    return rows


def measure(store: Store, output: str, labels: Sequence[str]) -> Figures:
    """Count what stands for an output."""
    items = store.items(output)
    rows = by_row(store.standing(output))
    reviewers: dict[str, set[int]] = defaultdict(set)
    for row, standings in rows.items():
        for standing in standings:
            if standing.reviewed:
                reviewers[standing.reviewer].add(items[row].cluster)
    read = {row: [s for s in standings if s.reviewed and s.choice.seen] for row, standings in rows.items()}
    firsts = _one_per_cluster(read, items)
    clusters_read = {items[row].cluster for row in firsts}
    truths = {row: truth for row in firsts if (truth := settled(rows[row])) is not None}
    precision = {
        label: _share([label in truth.choice.labels for row, truth in truths.items() if label in items[row].predicted]) for label in labels
    }
    stance = _share(
        [
            truth.choice.stance == items[row].predicted_stance
            for row, truth in truths.items()
            if items[row].predicted and truth.choice.labels
        ]
    )
    blind = by_row(store.readings(output))
    firsts_blind = _one_per_cluster(blind, items)
    twice = {row: blind[row] for row in firsts_blind if len(blind[row]) > 1}
    alpha = {label: alpha_of_units([[label in s.choice.labels for s in each] for each in twice.values()]) for label in labels}
    alpha["stance"] = alpha_of_units([[s.choice.stance for s in each] for each in twice.values() if all(s.choice.labels for s in each)])
    clusters_in_bulk = {items[row].cluster for row, each in rows.items() if any(s.reviewed and not s.choice.seen for s in each)}
    return Figures(
        precision=precision,
        stance=stance,
        n_read=len(firsts),
        n_bulk=len(clusters_in_bulk - clusters_read),
        n_twice=len(twice),
        n_same=sum(len({_said(s) for s in each}) == 1 for each in twice.values()),
        n_disagreements=len(
            {c for row, each in rows.items() if disagree(each) and ((c := items[row].cluster) not in clusters_read or read[row])}
        ),
        alpha=alpha,
        reviewers={name: len(clusters) for name, clusters in sorted(reviewers.items())},
    )


def _one_per_cluster(read: Mapping[int, Sequence[Standing]], items: Mapping[int, Item]) -> list[int]:
    """Of each cluster the row that most reviewers had before them."""
    best: dict[int, int] = {}
    for row, standings in read.items():
        cluster = items[row].cluster
        if standings and (cluster not in best or len(standings) > len(read[best[cluster]])):
            best[cluster] = row
    return sorted(best.values())


def _share(right: Sequence[bool]) -> Precision:
    from narratives.training.metrics import wilson  # the page opens without it

    low, high = wilson(sum(right), len(right))
    return Precision(sum(right), len(right), low, high)
