"""Which posts to annotate next: those from which a model would learn most, and no two that say the same.

    uncertain   posts whose probability is nearest to a label's threshold; for a bundle that knows the label
    rare        posts most like a label that few annotated posts carry: most like the definition, and by the bundle's own probability
    diverse     posts far from all that is chosen or annotated already (k-center greedy, Sener and Savarese 2018)

Each kind gives its share, in turn, near-duplicates of chosen or annotated posts left out. Without a bundle the definitions stand in for it:
then posts are chosen by nearness to each label in turn and by diversity. Each chosen post says why it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narratives.bundle import ModelBundle
from narratives.config import ScoreConfig
from narratives.errors import ConfigError
from narratives.records import Post, Prediction
from narratives.scorer import Scorer
from narratives.taxonomy import Taxonomy
from narratives.text.language import detect
from narratives.text.normalize import normalize
from narratives.training.corpus import label_targets
from narratives.training.features import base_bundle, pool_with, read_texts
from narratives.training.heads import Scale, describe, prior_weights
from narratives.training.near import Seen, triples
from narratives.training.ranking import MODEL

FloatArray = npt.NDArray[np.float32]

SHARES = {"uncertain": 0.4, "rare": 0.4, "diverse": 0.2}
"""With a bundle; without one there is nothing to be uncertain with, and the other two share its part."""
N_CANDIDATES = 20_000
"""So many posts are looked at closely, drawn at random from a larger dump."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A post to annotate, and why: `uncertain`, `rare` or `diverse`, with the label it is for."""

    row: int
    why: str
    label: str | None


def suggest(
    posts: Sequence[Post],
    taxonomy: Taxonomy,
    n: int,
    *,
    bundle: ModelBundle | None = None,
    annotated: Sequence[Post] = (),
    seed: int = 13,
    say: Callable[[str], None] = lambda _: None,
) -> list[Suggestion]:
    """Choose `n` posts, best first.

    Args:
        posts: a dump, copies left out (`ranking.read_dump`).
        bundle: trained on labels of the taxonomy; None: the definitions alone.
        annotated: what is annotated already: neither it nor its near-duplicates are suggested, and its counts say which labels are rare.

    Raises:
        ConfigError: n is below 1, or the bundle knows none of the labels.
    """
    if n < 1:
        raise ConfigError(f"n is {n}, expected at least 1")
    if bundle is not None and not set(bundle.labels) & set(taxonomy.ids):
        raise ConfigError(f"{bundle.name} has none of these labels; its own are {', '.join(bundle.labels)}")
    rng = np.random.default_rng(seed)
    rows = np.arange(len(posts))
    if len(rows) > N_CANDIDATES:
        rows = np.sort(rng.choice(rows, N_CANDIDATES, replace=False))
    some = [posts[i] for i in rows.tolist()]
    pool = pool_with(bundle if bundle is not None and bundle.kind != "linear" else base_bundle())
    say(f"reading {len(some)} posts")
    probabilities, thresholds = _probabilities(bundle, taxonomy, some)
    found = choose(
        some,
        taxonomy,
        n,
        features=pool(read_texts(some)),
        described=describe(taxonomy, pool),
        probabilities=probabilities,
        thresholds=thresholds,
        annotated=annotated,
        annotated_features=pool(read_texts(annotated)) if annotated else None,
        seed=seed,
    )
    return [Suggestion(int(rows[s.row]), s.why, s.label) for s in found]


def choose(
    posts: Sequence[Post],
    taxonomy: Taxonomy,
    n: int,
    *,
    features: FloatArray,
    described: FloatArray,
    probabilities: FloatArray | None = None,
    thresholds: FloatArray | None = None,
    annotated: Sequence[Post] = (),
    annotated_features: FloatArray | None = None,
    seed: int = 13,
) -> list[Suggestion]:
    """`suggest` from arrays: what the encoder and a model said is given.

    Args:
        features: of the posts, shape (n_posts, hidden); `described` of the labels (`heads.describe`).
        probabilities: shape (n_posts, n_labels), NaN for labels the model lacks; thresholds (n_labels,) alike. None: there is no model.
    """
    rng = np.random.default_rng(seed)
    scale = Scale.of(features)
    near = scale(features) @ prior_weights(described, scale, features).T
    counts = label_targets(annotated, taxonomy).sum(axis=0) if annotated else np.zeros(len(taxonomy), dtype=np.int64)
    other = scale(annotated_features) if annotated_features is not None else None
    queues = {
        "rare": _rarest_first(near, probabilities, counts, taxonomy),
        "diverse": _far_first(scale(features), other, n, rng),
    }
    if probabilities is not None and thresholds is not None:
        queues["uncertain"] = _uncertain_first(probabilities, thresholds, taxonomy)
    return _in_turn(queues, n, posts, annotated)


def _probabilities(bundle: ModelBundle | None, taxonomy: Taxonomy, posts: Sequence[Post]) -> tuple[FloatArray | None, FloatArray | None]:
    """Columns in the order of the taxonomy, NaN for labels the bundle lacks; and its thresholds alike."""
    if bundle is None:
        return None, None
    scored = Scorer.from_bundle(bundle, config=ScoreConfig(evidence=False)).predict_proba(posts)
    found = np.full((len(posts), len(taxonomy)), np.nan, dtype=np.float32)
    thresholds = np.full(len(taxonomy), np.nan, dtype=np.float32)
    for i, label in enumerate(taxonomy.ids):
        if label in bundle.labels:
            at = bundle.labels.index(label)
            found[:, i], thresholds[i] = scored[:, at], bundle.calibration.thresholds[at]
    return found, thresholds


def _uncertain_first(probabilities: FloatArray, thresholds: FloatArray, taxonomy: Taxonomy) -> list[Suggestion]:
    """By the least distance of any label's logit to its threshold's; labels in turn, so that one unsure label does not take all."""

    def logit(p: FloatArray) -> FloatArray:
        q = np.clip(p, 1e-5, 1 - 1e-5)
        found: FloatArray = np.log(q / (1 - q))
        return found

    distance = np.abs(logit(probabilities) - logit(thresholds))
    known = [i for i in range(len(taxonomy)) if not np.isnan(thresholds[i])]
    orders = {i: np.argsort(distance[:, i], kind="stable") for i in known}
    return [Suggestion(int(orders[i][k]), "uncertain", taxonomy.ids[i]) for k in range(len(probabilities)) for i in known]


def _rarest_first(
    near: FloatArray, probabilities: FloatArray | None, counts: npt.NDArray[np.int64], taxonomy: Taxonomy
) -> list[Suggestion]:
    """The likeliest posts of each label in turn, the label with the fewest annotated posts first; it is given more turns too."""
    score = (near - near.mean(axis=0)) / (near.std(axis=0) + 1e-6)
    if probabilities is not None:
        z = np.log(np.clip(probabilities, 1e-5, 1 - 1e-5) / np.clip(1 - probabilities, 1e-5, 1))
        spread = (z - np.nanmean(z, axis=0)) / (np.nanstd(z, axis=0) + 1e-6)
        score = np.where(np.isnan(spread), score, 0.5 * score + spread)
    orders = np.argsort(-score, axis=0, kind="stable")
    # Turns in proportion to 1 / sqrt(1 + count): a label with none beside one with 99 gets ten turns to its one.
    weight = 1 / np.sqrt(1 + counts.astype(np.float64))
    taken = np.zeros(len(taxonomy))
    found = []
    for _ in range(min(near.size, 20 * len(near))):
        label = int(np.argmin((taken + 1) / weight))
        if taken[label] >= len(near):
            break
        found.append(Suggestion(int(orders[int(taken[label]), label]), "rare", taxonomy.ids[label]))
        taken[label] += 1
    return found


def _far_first(features: FloatArray, annotated: FloatArray | None, n: int, rng: np.random.Generator) -> list[Suggestion]:
    """k-center greedy by cosine, among posts that are not themselves outliers: the farthest twentieth from the middle is left out."""
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-6)
    centre = np.linalg.norm(features, axis=1)
    usual = np.flatnonzero(centre <= np.quantile(centre, 0.95))
    if annotated is not None and len(annotated):
        other = annotated / np.maximum(np.linalg.norm(annotated, axis=1, keepdims=True), 1e-6)
        closest = (unit[usual] @ other.T).max(axis=1)
        order = []
    else:
        first = int(rng.integers(len(usual)))
        closest, order = unit[usual] @ unit[usual[first]], [first]
    while len(order) < min(2 * n, len(usual)):
        nxt = int(np.argmin(closest))
        order.append(nxt)
        closest = np.maximum(closest, unit[usual] @ unit[usual[nxt]])
        closest[nxt] = 2.0
    return [Suggestion(int(usual[i]), "diverse", None) for i in order]


def _in_turn(queues: dict[str, list[Suggestion]], n: int, posts: Sequence[Post], annotated: Sequence[Post]) -> list[Suggestion]:
    """Take from the queues by their shares; skip posts taken already and near-duplicates."""
    places = dict.fromkeys(queues, 0)
    share = {name: SHARES[name] for name in queues}
    seen = Seen()
    for post in annotated:
        seen.add(triples(post.text))
    taken: set[int] = set()
    found: list[Suggestion] = []
    counts = dict.fromkeys(queues, 0)
    while len(found) < n and any(places[name] < len(queue) for name, queue in queues.items()):
        name = min((q for q in queues if places[q] < len(queues[q])), key=lambda q: (counts[q] + 1) / share[q])
        one = queues[name][places[name]]
        places[name] += 1
        if one.row in taken:
            continue
        mine = triples(posts[one.row].text)
        if any(seen.near(mine)):
            continue
        taken.add(one.row)
        seen.add(mine)
        counts[name] += 1
        found.append(one)
    return found


def as_predictions(
    suggestions: Sequence[Suggestion], posts: Sequence[Post], taxonomy: Taxonomy, *, bundle: ModelBundle | None = None
) -> list[Prediction]:
    """What the review page reads: the bundle's own predictions of the chosen posts, or without one, posts with no probability."""
    wanted = [posts[s.row] for s in suggestions]
    if bundle is not None:
        return Scorer.from_bundle(bundle).predict(wanted)
    return [
        Prediction(post, (s.label,) if s.label else (), {}, None, {}, language=detect(normalize(post.text).text).language, model=MODEL)
        for post, s in zip(wanted, suggestions, strict=True)
    ]
