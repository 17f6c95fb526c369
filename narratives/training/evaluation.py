"""A bundle on annotated posts, beyond single figures: curves, which labels are taken for which, and the errors worth reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from narratives.records import Post, Prediction
from narratives.scorer import Scorer
from narratives.training.corpus import BoolArray, label_targets
from narratives.training.measure import measure

N_BINS = 10
MAX_ERRORS = 40
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Bin:
    """Posts whose probability lies in one tenth: their mean probability, and the share that carries the label."""

    probability: float
    share: float
    n: int


@dataclass(frozen=True, slots=True)
class Error:
    """A label given wrongly (`missed` is false) or not given. `sureness`: how far beyond its threshold the probability is, in its own
    range."""

    post: Post
    label: str
    missed: bool
    probability: float
    threshold: float
    sureness: float
    also: tuple[str, ...]
    """What annotators said of the post (of a false alarm), or the model (of a miss)."""


@dataclass(slots=True)
class Evaluation:
    """`figures` are `metrics.evaluate`'s. `confusion` counts, for each true label, the labels given to posts where it was missed;
    "(none)" where none was given; and under "(none)" what was given to posts without a label."""

    model: str
    title: str
    labels: tuple[str, ...]
    figures: dict[str, Any]
    calibration: dict[str, list[Bin]] = field(default_factory=dict)
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    confusion: dict[str, dict[str, int]] = field(default_factory=dict)
    errors: list[Error] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The figures of `metrics.evaluate` at the top level, the rest beside them. Errors are told by id: the texts are in the data."""
        return {
            **self.figures,
            "model": self.model,
            "calibration_curve": {label: [asdict(b) for b in bins] for label, bins in self.calibration.items()},
            "precision_recall_curve": self.curves,
            "confusion": self.confusion,
            "errors": [
                {"id": e.post.id, "label": e.label, "missed": e.missed, "probability": e.probability, "threshold": e.threshold}
                for e in self.errors
            ],
        }


def evaluate_bundle(scorer: Scorer, posts: Sequence[Post], *, title: str = "") -> Evaluation:
    """Score annotated posts and judge what comes out."""
    labels = scorer.labels
    predictions = scorer.predict(posts)
    targets = label_targets(posts, scorer.taxonomy)
    probabilities = np.array([[p.probabilities[i] for i in labels] for p in predictions], dtype=np.float32)
    flagged = np.array([[i in p.labels for i in labels] for p in predictions], dtype=bool)
    thresholds = scorer.bundle.calibration.at(scorer.config.operating_point)
    result = Evaluation(scorer.bundle.model_id, title or f"{len(posts)} posts", labels, dict(measure(scorer, posts, predictions)))
    for i, label in enumerate(labels):
        result.calibration[label] = calibration_bins(probabilities[:, i], targets[:, i])
        if targets[:, i].any():
            result.curves[label] = precision_recall(probabilities[:, i], targets[:, i])
    result.confusion = confusion_between(targets, flagged, labels)
    result.errors = errors_worth_reading(posts, predictions, targets, flagged, probabilities, thresholds, labels)
    return result


def calibration_bins(probabilities: FloatArray, targets: BoolArray) -> list[Bin]:
    """Ten bins of equal width; empty ones are left out."""
    place = np.minimum((probabilities * N_BINS).astype(int), N_BINS - 1)
    bins = []
    for index in range(N_BINS):
        here = place == index
        if here.any():
            bins.append(Bin(float(probabilities[here].mean()), float(targets[here].mean()), int(here.sum())))
    return bins


def precision_recall(probabilities: FloatArray, targets: BoolArray, *, n_points: int = 60) -> list[tuple[float, float]]:
    """Pairs (recall, precision) from the highest threshold to the lowest, at most `n_points`."""
    order = np.argsort(-probabilities, kind="stable")
    hits = np.cumsum(targets[order])
    last_of_ties = np.flatnonzero(np.diff(probabilities[order], append=-1.0))
    recall, precision = hits[last_of_ties] / targets.sum(), hits[last_of_ties] / (last_of_ties + 1)
    kept = np.unique(np.linspace(0, len(recall) - 1, min(n_points, len(recall))).round().astype(int))
    return [(float(recall[i]), float(precision[i])) for i in kept]


def confusion_between(targets: BoolArray, flagged: BoolArray, labels: Sequence[str]) -> dict[str, dict[str, int]]:
    """For posts with a label missed: which wrong labels were given instead. Counts of (post, missed label) by wrongly given label."""
    wrong, missed = flagged & ~targets, targets & ~flagged
    table = {}
    for i, label in enumerate(labels):
        row = {other: int((missed[:, i] & wrong[:, j]).sum()) for j, other in enumerate(labels) if j != i}
        row["(none)"] = int((missed[:, i] & ~wrong.any(axis=1)).sum())
        table[label] = {name: n for name, n in row.items() if n}
    clean = ~targets.any(axis=1)
    table["(none)"] = {label: n for j, label in enumerate(labels) if (n := int((clean & flagged[:, j]).sum()))}
    return table


def errors_worth_reading(
    posts: Sequence[Post],
    predictions: Sequence[Prediction],
    targets: BoolArray,
    flagged: BoolArray,
    probabilities: FloatArray,
    thresholds: Sequence[float],
    labels: Sequence[str],
) -> list[Error]:
    """The errors the model was surest of, labels and kinds in turn: an annotator's slip, a gap in the definition, or something to learn."""
    queues: list[list[Error]] = []
    for i, label in enumerate(labels):
        t = thresholds[i]
        for missed in (False, True):
            rows = np.flatnonzero((targets[:, i] & ~flagged[:, i]) if missed else (~targets[:, i] & flagged[:, i]))
            found = []
            for row in rows.tolist():
                p = float(probabilities[row, i])
                sureness = (t - p) / t if missed else (p - t) / max(1 - t, 1e-6)
                also = predictions[row].labels if missed else tuple(posts[row].labels or ())
                found.append(Error(posts[row], label, missed, p, float(t), sureness, also))
            queues.append(sorted(found, key=lambda e: -e.sureness))
    errors: list[Error] = []
    for depth in range(max((len(q) for q in queues), default=0)):
        errors += [queue[depth] for queue in queues if depth < len(queue)]
        if len(errors) >= MAX_ERRORS:
            break
    return errors[:MAX_ERRORS]
