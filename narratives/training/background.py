"""Real posts nobody annotated, taken as posts without a label: read by path at training time, never copied.

A corpus of written posts does not hold what most of a dump is: adverts, scores, recipes, weather. Ordinary real posts show it. Half of
the sources (channels; single posts where no channel is named) are trained on, the other half only counts false alarms. Whether a
source is held out is decided by a hash of its name, so that more posts move none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from narratives.cache import sha256
from narratives.errors import InputError
from narratives.readers import read_posts
from narratives.records import Post
from narratives.text.normalize import normalize

_SALT = "narratives-background-1"


@dataclass(frozen=True, slots=True)
class Background:
    """`train` shows the model what has no label, `screen` shows it to the screen only, `validation` sets thresholds, `held_out` is never
    seen before it is measured."""

    train: list[Post] = field(default_factory=list)
    validation: list[Post] = field(default_factory=list)
    screen: list[Post] = field(default_factory=list)
    held_out: dict[str, list[Post]] = field(default_factory=dict)
    """Posts of each file, under its name."""
    digests: dict[str, str] = field(default_factory=dict)
    """sha256 of each file, under its name."""


def read_background(paths: Sequence[str | Path], *, n_posts: int, n_validation: int, n_screen: int = 0) -> Background:
    """Read dumps of any format as ordinary posts.

    Args:
        paths: files or folders of dumps; a broken record is left out.
        n_posts: how many to train on in all, shared evenly between the files.
        n_validation, n_screen: how many more set thresholds, and train the screen; fewer where a file has fewer.

    Raises:
        InputError: a path is missing or holds no post.
    """
    background = Background()
    each, more, most = (max(least, n // max(1, len(paths))) for n, least in ((n_posts, 1), (n_validation, 1), (n_screen, 0)))
    for path in map(Path, paths):
        distinct: dict[str, Post] = {}
        for item in read_posts(path):
            if isinstance(item, Post) and (key := normalize(item.text).text.strip().lower()):
                distinct.setdefault(key, item)
        if not distinct:
            raise InputError(path, "holds no post to take as background")
        # In the order of a hash: a sample that is spread over the file and the same each time.
        ordered = [post for _, post in sorted(((_hash(key), post) for key, post in distinct.items()), key=lambda pair: pair[0])]
        seen = [post for post in ordered if _hash(_source(post)) % 2 == 0]
        name = f"{path.parent.name}/{path.name}"
        background.held_out[name] = [post for post in ordered if _hash(_source(post)) % 2 == 1]
        background.digests[name] = sha256(path)
        background.train.extend(seen[:each])
        background.validation.extend(seen[each : each + more])
        background.screen.extend(seen[each + more : each + more + most])
    return background


def _source(post: Post) -> str:
    return post.channel or normalize(post.text).text


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{_SALT}:{text}".encode("utf-8", "surrogatepass")).digest()[:8], "big")
