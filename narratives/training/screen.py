"""The screen: a linear model on the TF-IDF features that says which posts surely carry nothing, so that no encoder need read them.

It is taught what carries a narrative by the corpus and what does not mostly by real posts: telling a claim from its look-alike is the
encoder's work, so look-alikes of the corpus count little. The highest logit that the TF-IDF part gives a label is added: the one model
knows what real posts are like, the other what a claim is. Its threshold is the highest that loses at most one in a hundred of the posts
that the whole model flags, by a bound with 90% confidence.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from scipy.stats import beta
from sklearn.linear_model import LogisticRegression

from narratives.backends.linear import LinearModel, LinearWeights, tf_idf
from narratives.backends.terms import N_FEATURES, count_terms
from narratives.bundle import ModelBundle
from narratives.records import Post
from narratives.training.features import read_texts

FloatArray = npt.NDArray[np.float32]

MAX_MISSED = 0.01
"""Share of the posts the whole model flags that the screen may drop: of new ones, as far as held-out posts can bound it."""
CONFIDENCE = 0.9
"""Of that bound. With fewer than 230 held-out flagged posts it cannot be as low as `MAX_MISSED`; then the screen drops none of them."""
MIN_FLAGGED = 100
"""With fewer held-out posts to go by there is no screen."""
LOOKALIKE_WEIGHT = 0.1
"""What a written post without a label counts beside a real one; of 0.1, 0.3 and 1 the one that lets fewest real posts through."""

LABELS_SHARE = 0.5
"""What the highest logit of a label adds to the screen's. Of 0, 0.1, 0.2, 0.3, 0.5, 1 and 2 the one that lets fewest Russian posts
through: 3% instead of 18%, at the same misses among validation posts."""


def fit_screen(annotated: Sequence[Post], real: Sequence[Post], idf: FloatArray, *, seed: int) -> LinearWeights:
    """weight (1, n_features) and bias (1,) of logistic regression, does a post carry any narrative; and labels (1,), `LABELS_SHARE`.

    Args:
        annotated: posts of the corpus, to train on.
        real: posts without a label, to train on.
        idf: of the bundle's linear part, shape (n_features,): both read the same features.
    """
    posts = [*annotated, *real]
    terms = count_terms(read_texts(posts))
    matrix = csr_matrix((tf_idf(terms, idf), terms.columns, terms.starts), shape=(len(posts), N_FEATURES))
    carries = np.array([bool(post.labels) for post in annotated] + [False] * len(real))
    counts = np.where(carries, 1.0, LOOKALIKE_WEIGHT)
    counts[len(annotated) :] = 1.0
    model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000, random_state=seed).fit(matrix, carries, sample_weight=counts)
    return {
        "weight": model.coef_.astype(np.float16),
        "bias": model.intercept_.astype(np.float32),
        "labels": np.array([LABELS_SHARE], np.float32),
    }


def choose_threshold(screen_logits: FloatArray, flagged: npt.NDArray[np.bool_]) -> tuple[float, dict[str, float]] | None:
    """The threshold of a screen, and what held-out posts say of it; None where they are too few.

    Args:
        screen_logits: shape (n_posts,), of posts that neither model was trained on.
        flagged: which of them the whole model flags.
    """
    found = np.sort(screen_logits[flagged].astype(np.float64))
    if len(found) < MIN_FLAGGED:
        return None
    bounds = [_missed_at_most(n, len(found)) for n in range(math.floor(MAX_MISSED * len(found)) + 1)]
    n_missed = max((n for n, bound in enumerate(bounds) if bound <= MAX_MISSED), default=0)
    # Just below the lowest that must pass: float16 weights and another machine's sums move a logit a little.
    threshold = float(found[n_missed]) - 0.01
    return threshold, {
        "n_flagged": len(found),
        "n_missed": n_missed,
        "missed_at_most": bounds[n_missed],
        "confidence": CONFIDENCE,
    }


def _missed_at_most(n_missed: int, n: int) -> float:
    """Bound on the share missed among new posts, by Clopper and Pearson 1934, one-sided."""
    return float(beta.ppf(CONFIDENCE, n_missed + 1, n - n_missed))


def read_by_screen(bundle: ModelBundle, posts: Sequence[Post]) -> FloatArray | None:
    """The screen's logit of each post, shape (n_posts,); None for a bundle without a screen."""
    part = bundle.linear_part()
    if part is None or "screen.bias" not in part:
        return None
    found: FloatArray = LinearModel(part).outputs(read_texts(posts))["screen"][:, 0]
    return found


def calibrate_screen(bundle: ModelBundle, screen_logits: FloatArray, probabilities: FloatArray) -> tuple[ModelBundle, dict[str, Any]]:
    """Set the threshold of a bundle's screen, if posts are enough; and what they say of it.

    Args:
        screen_logits: shape (n_posts,), of annotated posts neither trained on nor measured on. Not of real ones: what is flagged among
            these is mostly a false alarm, and the screen may drop it.
        probabilities: the whole model's, shape (n_posts, n_labels).
    """
    flagged = np.asarray((probabilities >= np.array(bundle.calibration.thresholds)).any(axis=1))
    chosen = choose_threshold(screen_logits, flagged)
    if chosen is None:
        return bundle, {}
    threshold, figures = chosen
    return dataclasses.replace(bundle, calibration=dataclasses.replace(bundle.calibration, screen_threshold=threshold)), dict(figures)


def passes(bundle: ModelBundle, posts: Sequence[Post]) -> npt.NDArray[np.bool_]:
    """Which posts the screen lets through to the encoder, shape (n_posts,); all of them where there is no screen."""
    logits, threshold = read_by_screen(bundle, posts), bundle.calibration.screen_threshold
    return np.ones(len(posts), dtype=np.bool_) if logits is None or threshold is None else logits >= threshold
