"""Which way to train: a corpus of events takes `train.py`, everybody's own labels take `newlabels.py`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from narratives import taxonomy as taxonomies
from narratives.bundle import ModelBundle
from narratives.config import TrainConfig
from narratives.encoders.bundled import NAME
from narratives.errors import ConfigError
from narratives.records import Post
from narratives.taxonomy import Taxonomy
from narratives.training.corpus import is_test_group, split_corpus
from narratives.training.loaders import Annotated
from narratives.training.newlabels import split_posts

MIN_CORPUS = 1000
"""Posts with groups from which on validation and test parts of their own are worth their posts."""


def by_labels(name_or_path: str, *, single_label: bool = False) -> tuple[Taxonomy, str]:
    """A taxonomy and its text; `single_label` as if the file said so."""
    chosen = taxonomies.load(name_or_path)
    path = Path(name_or_path)
    text = path.read_text(encoding="utf-8") if path.is_file() else taxonomies.shipped_text(name_or_path)
    if single_label and not chosen.single_label:
        chosen = dataclasses.replace(chosen, single_label=True)
        text = taxonomies.dump(chosen)
    return chosen, text


def is_corpus(found: Annotated, taxonomy: Taxonomy, config: TrainConfig, *, has_background: bool) -> bool:
    """Whether `train.train` shall have these posts: another base model or dumps of real posts need it, groups of events deserve it."""
    if taxonomy.single_label or (any(found.parts) and config.base_model == NAME and not has_background):
        return False
    if config.base_model != NAME or has_background:
        return True
    groups = {post.group for post in found.posts if post.group}
    return len(found.posts) >= MIN_CORPUS and len(groups) > 20 and any(map(is_test_group, groups))


def part_of_data(found: Annotated, bundle: ModelBundle, part: str) -> list[Post]:
    """The posts of a part of the split: the one the data came with, else the one the bundle was trained with; "all": every post.

    Raises:
        ConfigError: there is no such part.
    """
    if part == "all":
        return found.posts
    if any(found.parts):
        posts = [p for p, named in zip(found.posts, found.parts, strict=True) if named == part]
    elif "new_labels" in bundle.metrics:
        train, test = split_posts(found.posts, found.parts)
        posts = test if part == "test" else train if part == "train" else []
    else:
        config = bundle.train_config
        posts = split_corpus(found.posts, bundle.taxonomy, validation_share=config.validation_share, seed=config.seed).part(part)
    if not posts:
        raise ConfigError(f"these {len(found.posts)} posts have no {part} part; pass --part all to take every post, if none was trained on")
    return posts
