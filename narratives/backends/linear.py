"""TF-IDF and logistic regression: the baseline every encoder must beat, a model that trains in a second, and what a bundle's linear
part and its screen are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from narratives.backends import FloatArray, Logits, RuntimeModel
from narratives.backends.terms import N_FEATURES, Terms, count_terms
from narratives.config import ScoreConfig
from narratives.errors import ConfigError

__all__ = ["N_FEATURES", "LinearBackend", "LinearModel", "LinearWeights", "load", "tf_idf"]

LinearWeights = Mapping[str, npt.NDArray[Any]]
_TEXTS_AT_ONCE = 256


def tf_idf(terms: Terms, idf: FloatArray) -> FloatArray:
    """The sublinear TF-IDF weight of each feature of each text, in the order of `terms.columns`; each text's have Euclidean length 1."""
    values = (1 + np.log(terms.counts)) * idf[terms.columns]
    lengths = np.diff(terms.starts)
    norms = np.sqrt(_sum(values * values, terms.starts))
    weights: FloatArray = (values / np.repeat(np.maximum(norms, np.finfo(np.float32).tiny), lengths)).astype(np.float32)
    return weights


def _sum(values: FloatArray, starts: npt.NDArray[np.int64]) -> FloatArray:
    """Sums of consecutive stretches along the first axis; of an empty one 0."""
    filled = np.diff(starts) > 0
    sums = np.zeros((len(starts) - 1, *values.shape[1:]), dtype=np.float32)
    if filled.any():
        sums[filled] = np.add.reduceat(values, starts[:-1][filled], axis=0)
    return sums


class LinearModel:
    """TF-IDF and linear layers on top: for labels and for the stance, and in a bundle with a screen for "any narrative".

    Args:
        weights: idf (n_features,), and for each head, such as `labels`, its `.weight` (n_outputs, n_features) and `.bias` (n_outputs,).
            `screen.labels` (1,), if there: what the highest logit of a label adds to the screen's.
    """

    def __init__(self, weights: LinearWeights) -> None:
        self._idf = weights["idf"].astype(np.float32)
        self.heads = [name.removesuffix(".bias") for name in sorted(weights) if name.endswith(".bias")]
        # Features first: the few a text has then lie together in memory.
        self._weight = np.ascontiguousarray(np.concatenate([weights[f"{h}.weight"] for h in self.heads]).T.astype(np.float32))
        self._bias = np.concatenate([weights[f"{h}.bias"] for h in self.heads]).astype(np.float32)
        self._labels_in_screen = float(weights["screen.labels"][0]) if "screen.labels" in weights else 0.0
        ends = np.cumsum([len(weights[f"{h}.bias"]) for h in self.heads])
        self._columns = {h: slice(end - len(weights[f"{h}.bias"]), end) for h, end in zip(self.heads, ends.tolist(), strict=True)}

    def outputs(self, texts: Sequence[str]) -> dict[str, FloatArray]:
        """The logits of each head, shape (n_texts, n_outputs)."""
        found = np.empty((len(texts), len(self._bias)), dtype=np.float32)
        for at in range(0, len(texts), _TEXTS_AT_ONCE):
            terms = count_terms(texts[at : at + _TEXTS_AT_ONCE])
            weighted = tf_idf(terms, self._idf)[:, None] * self._weight[terms.columns]
            found[at : at + _TEXTS_AT_ONCE] = _sum(weighted, terms.starts) + self._bias
        outputs = {head: found[:, columns] for head, columns in self._columns.items()}
        if self._labels_in_screen:
            outputs["screen"] += self._labels_in_screen * outputs["labels"].max(axis=1, keepdims=True)
        return outputs

    def logits(self, texts: Sequence[str]) -> Logits:
        found = self.outputs(texts)
        return Logits(found["labels"], found["stance"])


class LinearBackend:
    name = "linear"
    precision = "float32"

    def __init__(self, model: RuntimeModel, config: ScoreConfig) -> None:
        if model.linear_weights is None:
            raise ConfigError("this bundle is no linear model; use backend 'auto'")
        self._model = LinearModel(model.linear_weights())
        self.max_tokens = 100_000

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def logits(self, texts: Sequence[str]) -> Logits:
        return self._model.logits(texts)


def load(model: RuntimeModel, config: ScoreConfig) -> LinearBackend:
    return LinearBackend(model, config)
