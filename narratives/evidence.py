"""Which sentences carry a label: each sentence read alone, and the post read without it.

Occlusion (Zeiler and Fergus 2014) at the level of sentences needs nothing but the model's own logits, so it works with
every backend. It is done for flagged posts only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from narratives.text.windows import Span, sentences

MAX_SENTENCES = 32
"""A longer post's sentences are joined in runs, so that the cost of one post is bounded."""

FloatArray = npt.NDArray[np.float32]
_MIN_WEIGHT = 0.2


def candidate_spans(text: str) -> list[Span]:
    """The sentences of a clean text, or runs of neighbouring ones when there are more than `MAX_SENTENCES`."""
    spans = sentences(text)
    if len(spans) <= MAX_SENTENCES:
        return spans
    per_run = -(-len(spans) // MAX_SENTENCES)
    return [(run[0][0], run[-1][1]) for run in (spans[i : i + per_run] for i in range(0, len(spans), per_run))]


def questions(text: str, spans: Sequence[Span]) -> list[str]:
    """The texts to score for one post: each sentence alone, then the post without each."""
    alone = [text[a:b] for a, b in spans]
    without = [(text[:a].rstrip() + " " + text[b:].lstrip()).strip() for a, b in spans]
    return alone + without


def weigh(whole: FloatArray, answers: FloatArray) -> FloatArray:
    """Share of each sentence in each label's evidence.

    A sentence counts by how much probability it has alone, plus how much is lost without it, each in [0, 1].

    Args:
        whole: probabilities of the whole post, shape (n_labels,).
        answers: probabilities for `questions`, shape (2 * n_sentences, n_labels).

    Returns:
        Weights in [0, 1], shape (n_sentences, n_labels); columns sum to 1, or are all 0 where nothing speaks for a label.
    """
    n = len(answers) // 2
    raw = answers[:n] + np.maximum(whole[None, :] - answers[n:], 0)
    # Squared: the sentence that carries the claim stands out from those that only share its topic.
    raw = np.square(raw)
    total = raw.sum(axis=0, keepdims=True)
    weights: FloatArray = np.divide(raw, total, out=np.zeros_like(raw), where=total > 0)
    return weights


def choose(weights: FloatArray, label: int) -> list[tuple[int, float]]:
    """(sentence, weight) of the sentences worth showing, heaviest first: always the top one, then any of 0.2 or more."""
    order = sorted(range(len(weights)), key=lambda i: (-float(weights[i, label]), i))
    return [(i, float(weights[i, label])) for rank, i in enumerate(order) if rank == 0 or weights[i, label] >= _MIN_WEIGHT]
