"""Fitting the linear model: logistic regression over TF-IDF, one label at a time. The baseline, and quick to try with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from narratives.backends.linear import LinearWeights, tf_idf
from narratives.backends.terms import N_FEATURES, count_terms
from narratives.records import STANCES, Post
from narratives.taxonomy import Taxonomy
from narratives.training.corpus import NO_STANCE, label_targets, stance_targets
from narratives.training.features import read_texts


def fit_linear(posts: Sequence[Post], taxonomy: Taxonomy, *, seed: int) -> LinearWeights:
    """Weights of a linear bundle: idf (n_features,), labels.weight (n_labels, n_features), stance.weight (3, …), biases.

    A label without both kinds of posts gets a constant: its base rate can be told, nothing else.
    """
    terms = count_terms(read_texts(posts))
    document_frequency = np.bincount(terms.columns, minlength=N_FEATURES)
    idf = (np.log((1 + len(posts)) / (1 + document_frequency)) + 1).astype(np.float32)
    matrix = csr_matrix((tf_idf(terms, idf), terms.columns, terms.starts), shape=(len(posts), N_FEATURES))

    labels = label_targets(posts, taxonomy)
    label_weight = np.zeros((len(taxonomy), N_FEATURES), dtype=np.float16)
    label_bias = np.full(len(taxonomy), -6.0, dtype=np.float32)
    for i in range(len(taxonomy)):
        if labels[:, i].any() and not labels[:, i].all():
            model = LogisticRegression(C=30.0, class_weight="balanced", max_iter=1000, random_state=seed).fit(matrix, labels[:, i])
            label_weight[i], label_bias[i] = model.coef_[0], model.intercept_[0]
    stances = stance_targets(posts)
    known = stances != NO_STANCE
    stance_weight = np.zeros((len(STANCES), N_FEATURES), dtype=np.float16)
    stance_bias = np.zeros(len(STANCES), dtype=np.float32)
    if len(set(stances[known].tolist())) > 2:
        model = LogisticRegression(C=30.0, class_weight="balanced", max_iter=1000, random_state=seed).fit(matrix[known], stances[known])
        stance_weight[model.classes_], stance_bias[model.classes_] = model.coef_, model.intercept_
    return {
        "idf": idf,
        "labels.weight": label_weight,
        "labels.bias": label_bias,
        "stance.weight": stance_weight,
        "stance.bias": stance_bias,
    }
