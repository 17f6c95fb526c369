"""Which way to train: a corpus of events takes `train.py`, everybody's own labels take `newlabels.py`."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from narratives import taxonomy as taxonomies
from narratives.bundle import ModelBundle
from narratives.config import TrainConfig
from narratives.encoders.bundled import NAME
from narratives.errors import ConfigError
from narratives.records import Post
from narratives.taxonomy import Taxonomy
from narratives.training.corpus import Split, hold_out, is_test_group, split_corpus
from narratives.training.fit_bundle import LINEAR
from narratives.training.loaders import Annotated
from narratives.training.newlabels import Budget, config_for, split_posts

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


@dataclass(frozen=True, slots=True)
class Plan:
    """What to train with: `train.train` with `split` where `by_events`, else `newlabels.train_labels` with `budget`."""

    by_events: bool
    budget: Budget
    config: TrainConfig
    split: Split | None = None
    """The parts that the data came with; None: they came with none."""


def choose(
    found: Annotated,
    taxonomy: Taxonomy,
    given: Mapping[str, object],
    *,
    budget: Budget | Literal["auto"] = "auto",
    has_start: bool = False,
    has_background: bool = False,
) -> Plan:
    """The way to train that options and posts ask for. Nothing that was asked for is dropped: what does not fit is an error.

    Args:
        given: settings of `TrainConfig` that somebody chose; they win over what a budget would set.
        has_start: there is a bundle whose labels shall be kept.
        has_background: there are dumps of real posts to train on.

    Raises:
        ConfigError: two options contradict each other, an option has no effect on this way, or the parts of the data are no split.
    """
    config = TrainConfig.from_dict(given)
    _check_options(config, taxonomy, budget=budget, has_start=has_start, has_background=has_background)
    by_labels_only = budget != "auto" or has_start or taxonomy.single_label
    if not by_labels_only and (has_background or config.base_model != NAME or _is_corpus(found)):
        return Plan(True, "fast", config, _split_of(found, taxonomy, config))
    spent: Budget = "fast" if budget == "auto" else budget
    used = (_USED_BY_HEADS - {"max_length"} if has_start else _USED_BY_HEADS) if spent == "fast" else _USED_BY_TUNING
    if unused := sorted(set(given) - used):
        chosen = f"for these {len(found.posts)} posts" if budget == "auto" and not has_start else "here"
        mend = "" if has_start or config.base_model != NAME or not _USED_BY_TUNING.issuperset(unused) else ", or pass --budget standard"
        raise ConfigError(f"{', '.join(unused)}: set, but {chosen} the budget is {spent}, which does not use it; leave it out{mend}")
    return Plan(False, spent, config_for(spent, given))


_USED_BY_HEADS = frozenset({"base_model", "seed", "max_length"})
_USED_BY_TUNING = frozenset(TrainConfig.__dataclass_fields__) - {
    "background_weight", "background_posts", "background_validation_posts", "background_screen_posts", "validation_share", "linear_part",
}  # fmt: skip


def _check_options(
    config: TrainConfig, taxonomy: Taxonomy, *, budget: Budget | Literal["auto"], has_start: bool, has_background: bool
) -> None:
    events = {"--background": has_background, "--base-model linear": config.base_model == LINEAR}
    labels = {f"--budget {budget}": budget != "auto", "--from": has_start, "single_label": taxonomy.single_label}
    for one, other in itertools.product([o for o, asked in events.items() if asked], [o for o, asked in labels.items() if asked]):
        raise ConfigError(f"{one} and {other} do not go together: no way of training has both; leave one of them out")
    if has_start and budget not in {"auto", "fast"}:
        raise ConfigError(f"--from keeps its bundle's encoder as it is, and --budget {budget} tunes one; leave one of them out")
    if config.base_model != NAME:
        if has_start:
            raise ConfigError(f"--from takes its bundle's encoder, and --base-model names {config.base_model!r}; leave one of them out")
        if budget not in {"auto", "fast"}:
            raise ConfigError(f"--budget {budget} tunes the shipped encoder only; with --base-model {config.base_model} take --budget fast")


def _is_corpus(found: Annotated) -> bool:
    """Whether groups of events deserve a validation part and a test part of their own."""
    groups = {post.group for post in found.posts if post.group}
    enough = len(found.posts) >= MIN_CORPUS and len(groups) > 20
    return enough and not any(found.parts) and any(map(is_test_group, groups))


def _split_of(found: Annotated, taxonomy: Taxonomy, config: TrainConfig) -> Split | None:
    """The split that the data came with; without a validation part, one is held out of its training posts."""
    if not any(found.parts):
        return None
    parts: dict[str, list[Post]] = {"train": [], "validation": [], "test": []}
    for post, part in zip(found.posts, found.parts, strict=True):
        parts[part or "train"].append(post)
    for name in ("train", "test"):
        if not parts[name]:
            raise ConfigError(
                f"the data name parts of a split, and no post is in the {name} part; expected train and test (validation may be left "
                "out), or no such column: then groups are split by their names"
            )
    train, validation = parts["train"], parts["validation"]
    if not validation:
        train, validation = hold_out(train, taxonomy, validation_share=config.validation_share, seed=config.seed)
    return Split(train, validation, parts["test"])


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
