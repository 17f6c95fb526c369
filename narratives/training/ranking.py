"""Posts of a dump in the order in which definitions alone, without one annotated post, say that they carry a label.

Nobody measured these numbers on the labels at hand: they are ranks, not probabilities, and their outputs say `zero-shot`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narratives.bundle import ModelBundle
from narratives.errors import InputError
from narratives.records import Post, Prediction, RejectedRecord
from narratives.taxonomy import Taxonomy
from narratives.text.language import detect
from narratives.text.normalize import normalize
from narratives.training.features import base_bundle, pool_with, read_texts
from narratives.training.heads import Scale, describe, prior_weights
from narratives.training.near import distinct

FloatArray = npt.NDArray[np.float32]
MODEL = "zero-shot:definitions"
MAX_POSTS = 200_000


@dataclass(frozen=True, slots=True)
class Ranked:
    """A post, a label, its place in the label's list (1 is nearest) and how near it is, in standard deviations over the dump."""

    post: Post
    label: str
    place: int
    nearness: float


def read_dump(items: Iterable[Post | RejectedRecord], *, limit: int = MAX_POSTS) -> list[Post]:
    """Posts with words in them, copies once, at most `limit`."""
    posts: list[Post] = []
    seen: set[str] = set()
    for item in items:
        if isinstance(item, Post) and any(map(str.isalpha, item.text)) and item.text not in seen:
            seen.add(item.text)
            posts.append(item)
            if len(posts) == limit:
                break
    return posts


def nearness(posts: Sequence[Post], taxonomy: Taxonomy, *, body: ModelBundle | None = None) -> FloatArray:
    """How near each post is to the words of each label, standardised over these posts, shape (n_posts, n_labels)."""
    pool = pool_with(body or base_bundle())
    features = pool(read_texts(posts))
    scale = Scale.of(features)
    logits = scale(features) @ prior_weights(describe(taxonomy, pool), scale, features).T
    found: FloatArray = ((logits - logits.mean(axis=0)) / (logits.std(axis=0) + 1e-6)).astype(np.float32)
    return found


def rank(
    posts: Sequence[Post],
    taxonomy: Taxonomy,
    *,
    n: int = 20,
    body: ModelBundle | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[Ranked]:
    """The `n` nearest posts of each label, near-duplicates once.

    Raises:
        InputError: there is no post.
    """
    if not posts:
        raise InputError("the dump", "holds no post with words in it")
    say(f"reading {len(posts)} posts")
    near = nearness(posts, taxonomy, body=body)
    found: list[Ranked] = []
    for i, label in enumerate(taxonomy.ids):
        order = np.argsort(-near[:, i], kind="stable")
        kept = distinct(((int(row), posts[row].text) for row in order), n)
        found += [Ranked(posts[row], label, place, float(near[row, i])) for place, row in enumerate(kept, start=1)]
    return found


def as_predictions(ranked: Sequence[Ranked], taxonomy: Taxonomy) -> Iterator[Prediction]:
    """One prediction a post, for the usual output: labels it is listed under, `p_` columns empty, since nothing is a probability here."""
    by_post: dict[int, list[Ranked]] = {}
    for one in ranked:
        by_post.setdefault(id(one.post), []).append(one)
    for listed in by_post.values():
        post = listed[0].post
        labels = tuple(one.label for one in sorted(listed, key=lambda one: -one.nearness))
        yield Prediction(post, labels, {}, None, {}, language=detect(normalize(post.text).text).language, model=MODEL)
