"""Heads over a frozen encoder, for any number of posts: label definitions as a prior, logistic regression, a TF-IDF model joined; how much
each counts is chosen by cross-validation on the posts there are.

At eight posts a label the definitions alone are worth more than the posts, and both together more than either (docs/retraining.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from scipy.special import logsumexp

from narratives.backends.linear import tf_idf
from narratives.backends.terms import N_FEATURES, count_terms
from narratives.records import Post
from narratives.taxonomy import Taxonomy
from narratives.training.corpus import BoolArray, IntArray, group_of
from narratives.training.features import Pool
from narratives.training.logistic import Linear, fit_logistic
from narratives.training.metrics import average_precision

FloatArray = npt.NDArray[np.float32]

PRIORS = (0.5, 1.0, 0.25, 0.0)
"""How far definitions count: the standard deviation of their logits over the training posts. Of equal ones the first is taken."""
STRENGTHS = (0.01, 0.001, 0.1)
TERM_STRENGTH = 3.0
JOIN_WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
N_FOLDS = 5
MAX_KERNEL = 4000
"""Above so many posts the TF-IDF model is fitted one label at a time on sparse columns instead of in the space that the posts span."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Mean and standard deviation of features, shapes (hidden,): logistic regression reads (x - mean) / std."""

    mean: FloatArray
    std: FloatArray

    @classmethod
    def of(cls, features: FloatArray) -> Scale:
        return cls(features.mean(axis=0), features.std(axis=0) + 1e-4)

    def __call__(self, features: FloatArray) -> FloatArray:
        scaled: FloatArray = (features - self.mean) / self.std
        return scaled

    def fold(self, head: Linear) -> Linear:
        """The head for features as the encoder gives them."""
        weight = (head.weight / self.std).astype(np.float32)
        return Linear(weight, (head.bias - weight @ self.mean).astype(np.float32))


class Chosen(NamedTuple):
    """What cross-validation favoured, and what it saw: `losses` by (prior, strength), `scores` by join weight; both are for the card."""

    prior: float
    strength: float
    join: float
    merit: dict[str, float]


@dataclass(frozen=True, slots=True)
class Heads:
    """Fitted heads for pooled vectors as they are, the TF-IDF weights already multiplied by their share, and out-of-fold logits.

    `held_out` (n_posts, n_labels): logits of each post by heads that did not see its fold; calibration is fitted on them.
    """

    encoder: Linear
    terms: Linear | None
    idf: FloatArray
    held_out: FloatArray
    chosen: Chosen


def describe(taxonomy: Taxonomy, pool: Pool) -> FloatArray:
    """The features of each label by its words: the mean over its names, definitions and examples in all languages, shape (n_labels,
    hidden)."""
    texts: list[str] = []
    owners: list[int] = []
    for i, label in enumerate(taxonomy):
        names = [name for name in label.names.values() if name] or [label.id.replace("_", " ")]
        for some in (names, [text for text in label.definitions.values() if text], [e.text for e in label.examples]):
            texts += some
            owners += [i] * len(some)
    features, of = pool(texts), np.array(owners)
    return np.stack([features[of == i].mean(axis=0) for i in range(len(taxonomy))]).astype(np.float32)


def prior_weights(described: FloatArray, scale: Scale, features: FloatArray) -> FloatArray:
    """Weights whose logits say how near a post is to each label's words, with standard deviation 1 over these posts.

    What all labels' words have in common (being a definition, its language) is taken away first.

    Args:
        described: shape (n_labels, hidden), from `describe`; a single label is compared with the mean of the posts instead.
        features: posts, shape (n, hidden), not scaled.
    """
    centre = described.mean(axis=0) if len(described) > 1 else scale.mean
    direction = (described - centre) / scale.std
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-6)
    spread = float((scale(features) @ direction.T).std())
    weights: FloatArray = (direction / max(spread, 1e-6)).astype(np.float32)
    return weights


def folds_of(posts: Sequence[Post], targets: BoolArray, *, seed: int, n_folds: int = N_FOLDS) -> npt.NDArray[np.int64]:
    """The fold of each post: groups and copies whole, labels spread evenly; shape (n_posts,)."""
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

    names = [group_of(post) for post in posts]
    groups = sorted(set(names))
    marks = np.zeros((len(groups), targets.shape[1] + 1), dtype=np.int64)
    place = {name: i for i, name in enumerate(groups)}
    for name, row in zip(names, targets, strict=True):
        marks[place[name], :-1] |= row
        marks[place[name], -1] |= not row.any()
    n_folds = min(n_folds, len(groups))
    fold_of_group = np.zeros(len(groups), dtype=np.int64)
    splitter = MultilabelStratifiedKFold(n_splits=n_folds, shuffle=True, random_state=seed)
    for fold, (_, held) in enumerate(splitter.split(np.zeros(len(groups)), marks)):
        fold_of_group[held] = fold
    return np.array([fold_of_group[place[name]] for name in names], dtype=np.int64)


class _Terms:
    """TF-IDF features of the training posts, in the space they span: as many coordinates as posts, whatever the vocabulary."""

    def __init__(self, texts: Sequence[str], idf: FloatArray | None) -> None:
        terms = count_terms(texts)
        if idf is None:
            frequency = np.bincount(terms.columns, minlength=N_FEATURES)
            idf = (np.log((1 + len(texts)) / (1 + frequency)) + 1).astype(np.float32)
        self.idf = idf
        self._matrix = csr_matrix((tf_idf(terms, idf), terms.columns, terms.starts), shape=(len(texts), N_FEATURES))
        values, vectors = np.linalg.eigh((self._matrix @ self._matrix.T).toarray().astype(np.float64))
        kept = values > 1e-6 * max(values.max(), 1e-12)
        self._back = vectors[:, kept] / np.sqrt(values[kept])
        self.features: FloatArray = (vectors[:, kept] * np.sqrt(values[kept])).astype(np.float32)

    def whole(self, head: Linear) -> Linear:
        """The head's weights on the hashed features themselves, shape (n_labels, N_FEATURES)."""
        return Linear(np.asarray(self._matrix.T @ (self._back @ head.weight.T.astype(np.float64))).T.astype(np.float32), head.bias)


def fit_heads(
    posts: Sequence[Post],
    texts: Sequence[str],
    features: FloatArray,
    targets: BoolArray,
    folds: npt.NDArray[np.int64],
    *,
    described: FloatArray | None,
    exclusive: bool = False,
    with_none: bool = False,
    idf: FloatArray | None = None,
    only_first: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Heads:
    """Choose by cross-validation, then fit to all posts.

    Args:
        features: of the posts' texts, shape (n_posts, hidden).
        targets: shape (n_posts, n_labels).
        folds: of each post, from `folds_of`.
        described: what `describe` says of the labels; None: no prior (stances).
        exclusive: one label a post.
        with_none: with `exclusive`, posts without a label are a kind of their own; logits are then over its logit, which is 0.
        idf: of a TF-IDF model that the weights must fit, shape (N_FEATURES,); None: these posts' own.
        only_first: choose on fold 0 alone, because the encoder has seen the labels of the others; `held_out` is 0 there.
    """
    scale = Scale.of(features)
    scaled = scale(features)
    words = prior_weights(described, scale, features) if described is not None else None
    if with_none:
        targets = np.concatenate([targets, ~targets.any(axis=1, keepdims=True)], axis=1)
        words = None if words is None else np.concatenate([words, np.zeros_like(words[:1])])

    judged = folds == 0 if only_first else np.ones(len(folds), dtype=bool)

    def worth(logits: FloatArray) -> float:
        return merit(logits[judged], targets[judged], exclusive=exclusive)

    def held_out(x: FloatArray, strength: float, prior: FloatArray | None) -> FloatArray:
        found = np.zeros(targets.shape, dtype=np.float32)
        for fold in range(1 if only_first else int(folds.max()) + 1):
            here = folds == fold
            found[here] = fit_logistic(x[~here], targets[~here], strength=strength, exclusive=exclusive, prior=prior).logits(x[here])
        return found

    say("choosing by cross-validation how far definitions, encoder and TF-IDF count")
    tried: dict[tuple[float, float], FloatArray] = {}
    for weight in PRIORS if words is not None else (0.0,):
        for strength in STRENGTHS:
            tried[weight, strength] = held_out(scaled, strength, None if words is None else weight * words)
    (prior, strength), logits = max(tried.items(), key=lambda item: worth(item[1]))
    terms: Linear | None = None
    join, own_idf = 0.0, np.ones(N_FEATURES, dtype=np.float32) if idf is None else idf
    before = worth(logits)
    if len(posts) <= MAX_KERNEL:
        spanned = _Terms(texts, idf)
        own_idf = spanned.idf
        beside = held_out(spanned.features, TERM_STRENGTH, None)
        join = max(JOIN_WEIGHTS, key=lambda w: worth(logits + w * beside))
        if join:
            logits = (logits + join * beside).astype(np.float32)
            whole = spanned.whole(fit_logistic(spanned.features, targets, strength=TERM_STRENGTH, exclusive=exclusive))
            terms = Linear((join * whole.weight).astype(np.float32), (join * whole.bias).astype(np.float32))
    final = fit_logistic(scaled, targets, strength=strength, exclusive=exclusive, prior=None if words is None else prior * words)
    after = worth(logits)
    head = scale.fold(final)
    if with_none:
        head, logits = _over_none(head), logits[:, :-1] - logits[:, -1:]
        terms = None if terms is None else _over_none(terms)
    return Heads(head, terms, own_idf, logits, Chosen(prior, strength, join, {"encoder": before, "joined": after}))


def fit_on(
    posts: Sequence[Post],
    texts: Sequence[str],
    pool: Pool,
    targets: BoolArray,
    folds: IntArray,
    taxonomy: Taxonomy,
    idf: FloatArray | None,
    say: Callable[[str], None],
    *,
    only_first: bool = False,
) -> Heads:
    """Heads for the taxonomy's labels, its single_label respected; arguments as `fit_heads` has them."""
    exclusive = taxonomy.single_label and len(taxonomy) > 1
    return fit_heads(
        posts,
        texts,
        pool(texts),
        targets,
        folds,
        described=describe(taxonomy, pool),
        exclusive=exclusive,
        with_none=exclusive and not bool(targets.any(axis=1).all()),
        idf=idf,
        only_first=only_first,
        say=say,
    )


def _over_none(head: Linear) -> Linear:
    return Linear(head.weight[:-1] - head.weight[-1:], head.bias[:-1] - head.bias[-1])


def merit(logits: FloatArray, targets: BoolArray, *, exclusive: bool) -> float:
    """What is maximised: mean average precision over labels; where a post has one label, less the log loss at the best temperature."""
    if exclusive:
        truth = targets.argmax(axis=1)
        z = logits.astype(np.float64)
        losses = []
        for temperature in (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0):
            scaled = z / temperature
            losses.append(float((logsumexp(scaled, axis=1) - scaled[np.arange(len(z)), truth]).mean()))
        return -min(losses)
    found = [average_precision(targets[:, i], logits[:, i]) for i in range(targets.shape[1]) if targets[:, i].any()]
    return float(np.mean(found)) if found else 0.0


def as_figures(chosen: Chosen) -> dict[str, Any]:
    return {"definitions": chosen.prior, "strength": chosen.strength, "tf_idf": chosen.join, "merit": chosen.merit}
