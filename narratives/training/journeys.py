"""Which way to train: a corpus of events takes `train.py`, everybody's own labels take `newlabels.py`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from narratives import taxonomy as taxonomies
from narratives.config import TrainConfig
from narratives.encoders.bundled import NAME
from narratives.taxonomy import Taxonomy
from narratives.training.corpus import is_test_group
from narratives.training.loaders import Annotated

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
    if taxonomy.single_label:
        return False
    if config.base_model != NAME or has_background:
        return True
    groups = {post.group for post in found.posts if post.group}
    return len(found.posts) >= MIN_CORPUS and len(groups) > 20 and any(map(is_test_group, groups))
