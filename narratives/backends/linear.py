"""TF-IDF and logistic regression: the baseline every encoder must beat, and a model that trains in a second.

Words and character n-grams are hashed (Weinberger et al. 2009), so a bundle needs no vocabulary: only the inverse document
frequencies and the weights.
"""

from __future__ import annotations

import functools
import itertools
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from narratives.backends import FloatArray, Logits, RuntimeModel
from narratives.config import ScoreConfig
from narratives.errors import ConfigError

N_FEATURES = 2**17
LinearWeights = Mapping[str, npt.NDArray[Any]]
_WORD = re.compile(r"\w+")
# Kazakh letters a Russian keyboard lacks, and pairs that people or Latin spellings do not tell apart.
_FOLDED = str.maketrans("әғқңөұүһіёй", "агкноуухиеи")
_CHARACTER_GRAMS = (3, 4, 5)


def term_counts(text: str) -> Counter[int]:
    """How often each hashed feature stands in a text: words, pairs of words, and 3 to 5 characters inside words.

    Case and the special letters of Kazakh are folded away.
    """
    words = _WORD.findall(text.lower().translate(_FOLDED))
    counts: Counter[int] = Counter()
    for word in words:
        counts.update(_features_of_word(word))
    for first, second in itertools.pairwise(words):
        counts[_hash(f"b {first} {second}")] += 1
    return counts


@functools.lru_cache(maxsize=2**16)
def _features_of_word(word: str) -> tuple[int, ...]:
    padded = f" {word} "
    grams = (padded[at : at + n] for n in _CHARACTER_GRAMS for at in range(len(padded) - n + 1))
    return (_hash("w " + word), *map(_hash, grams))


def _hash(feature: str) -> int:
    return zlib.crc32(feature.encode("utf-8", "surrogatepass")) % N_FEATURES


def tf_idf(counts: Counter[int], idf: FloatArray) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Features and their sublinear TF-IDF weights, of Euclidean length 1."""
    features = np.fromiter(counts, dtype=np.int64, count=len(counts))
    values = (1 + np.log(np.fromiter(counts.values(), dtype=np.float32, count=len(counts)))) * idf[features]
    norm = float(np.linalg.norm(values))
    return features, (values / norm if norm else values).astype(np.float32)


class LinearModel:
    """TF-IDF and a linear layer for labels and for the stance: a model by itself, or joined to an encoder.

    Args:
        weights: idf (n_features,), labels.weight (n_labels, n_features), stance.weight (3, n_features) and their biases.
    """

    def __init__(self, weights: LinearWeights) -> None:
        self._idf = weights["idf"].astype(np.float32)
        # Features first: the few a text has then lie together in memory.
        self._labels = np.ascontiguousarray(weights["labels.weight"].T.astype(np.float32)), weights["labels.bias"].astype(np.float32)
        self._stance = np.ascontiguousarray(weights["stance.weight"].T.astype(np.float32)), weights["stance.bias"].astype(np.float32)

    def logits(self, texts: Sequence[str]) -> Logits:
        labels = np.empty((len(texts), len(self._labels[1])), dtype=np.float32)
        stances = np.empty((len(texts), len(self._stance[1])), dtype=np.float32)
        for row, text in enumerate(texts):
            features, values = tf_idf(term_counts(text), self._idf)
            labels[row] = values @ self._labels[0][features] + self._labels[1]
            stances[row] = values @ self._stance[0][features] + self._stance[1]
        return Logits(labels, stances)


class LinearBackend:
    name = "linear"
    precision = "float32"

    def __init__(self, model: RuntimeModel, config: ScoreConfig) -> None:
        if model.linear_weights is None:
            raise ConfigError("this bundle is no linear model; use backend 'auto'")
        self._model = LinearModel(model.linear_weights())
        self.max_tokens = 100_000

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(_WORD.findall(text)) for text in texts]

    def logits(self, texts: Sequence[str]) -> Logits:
        return self._model.logits(texts)


def load(model: RuntimeModel, config: ScoreConfig) -> LinearBackend:
    return LinearBackend(model, config)
