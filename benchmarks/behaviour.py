"""Behavioural tests in the manner of CheckList (Ribeiro et al. 2020): change a post in a way whose effect is known, and count surprises.

    python benchmarks/behaviour.py [--model models/mine] [--part test]

Every change is made to posts of one part of the corpus that the bundle flags. *Invariance*: another spelling, another town or a
translation (`data/annotations/translations.jsonl`, Russian test posts in Kazakh) must leave the labels as they were, and the loss of
macro-F1 on all posts, flagged or not, is measured too. *Direction*: after an added debunk
or inside a report's quotation a post must not be an endorsement. Prints one table; a share is of the posts changed, with its 95% Wilson
interval.
"""

from __future__ import annotations

import argparse
import functools
import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from narratives import Post, Prediction, ScoreConfig, Scorer
from narratives.training.augment import drop_kazakh_letters, to_latin
from narratives.training.card import add_to_card
from narratives.training.corpus import group_of, label_targets, read_corpus, split_corpus
from narratives.training.metrics import Figure, macro_f1, macro_f1_difference, wilson

RNG = random.Random(20231006)
_LOOKALIKES = str.maketrans("аеорсхАВЕКМНОРСТХ", "aeopcxABEKMHOPCTX")
_TOWNS_RU = ["Алматы", "Астана", "Шымкент", "Актау", "Актобе", "Уральск", "Павлодар", "Костанай", "Караганда", "Семей", "Тараз", "Атырау"]
_TOWNS_KK = ["Алматы", "Астана", "Шымкент", "Ақтау", "Ақтөбе", "Орал", "Павлодар", "Қостанай", "Қарағанды", "Семей", "Тараз", "Атырау"]
_TOWN = re.compile("|".join(sorted({*_TOWNS_RU, *_TOWNS_KK}, key=len, reverse=True)))


def is_kazakh(post: Post) -> bool:
    return post.language == "kk"


def lookalikes(post: Post) -> str:
    """One word in three with Latin letters that look Cyrillic."""
    return re.sub(r"\w+", lambda m: m.group().translate(_LOOKALIKES) if RNG.random() < 0.33 else m.group(), post.text)


def typos(post: Post) -> str:
    """Two neighbouring letters swapped in one word of eight."""

    def swap(match: re.Match[str]) -> str:
        word = match.group()
        if RNG.random() > 0.125:
            return word
        at = RNG.randrange(1, len(word) - 2)
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]

    return re.sub(r"[^\W\d_]{5,}", swap, post.text)


def other_towns(post: Post) -> str | None:
    towns = _TOWNS_KK if is_kazakh(post) else _TOWNS_RU
    changed = _TOWN.sub(lambda m: RNG.choice([town for town in towns if town != m.group()]), post.text)
    return changed if changed != post.text else None


def translated(post: Post) -> str | None:
    return translations().get(post.id or "")


@functools.cache
def translations() -> dict[str, str]:
    lines = (Path(__file__).parent.parent / "data" / "annotations" / "translations.jsonl").read_text("utf-8").splitlines()
    return {row["id"]: row["text"] for row in map(json.loads, lines)}


def debunked(post: Post) -> str:
    if is_kazakh(post):
        return f"{post.text}\n\nМұның бәрі өтірік: біз тексердік, жазбаның бірде-бір сөзі расталмады. Осындай жалғанға сенбеңіздер."
    return f"{post.text}\n\nВсё это ложь: мы проверили, ни одно слово записи выше не подтвердилось. Не верьте таким вбросам."


def quoted(post: Post) -> str:
    if is_kazakh(post):
        return f"Агенттік хабарлайды: желіде тараған жазбада «{post.text.strip()}» делінген. Министрлік әзірге пікір білдірген жоқ."
    return f"Агентство сообщает: в разошедшейся записи говорится: «{post.text.strip()}». В министерстве пока не комментируют."


def same_labels(before: Prediction, after: Prediction) -> bool:
    return set(before.labels) == set(after.labels)


def not_endorsed(_before: Prediction, after: Prediction) -> bool:
    return after.stance != "endorses"


Check = Callable[[Prediction, Prediction], bool]
TESTS: list[tuple[str, Callable[[Post], str | None], Callable[[Post], bool], Check]] = [
    ("labels stay: Kazakh without its own letters", lambda p: drop_kazakh_letters(p.text), is_kazakh, same_labels),
    ("labels stay: Kazakh in Latin letters (2021)", lambda p: to_latin(p.text), is_kazakh, same_labels),
    ("labels stay: Kazakh in chat Latin", lambda p: to_latin(p.text, chat=True), is_kazakh, same_labels),
    ("labels stay: look-alike letters", lookalikes, lambda p: True, same_labels),
    ("labels stay: typos", typos, lambda p: True, same_labels),
    ("labels stay: lower case", lambda p: p.text.lower(), lambda p: True, same_labels),
    ("labels stay: other towns", other_towns, lambda p: True, same_labels),
    ("labels stay: translated from Russian to Kazakh", translated, lambda p: p.language == "ru", same_labels),
    ("not endorses: debunk added to an endorsement", debunked, lambda p: p.stance == "endorses", not_endorsed),
    ("not endorses: endorsement quoted by an agency", quoted, lambda p: p.stance == "endorses", not_endorsed),
]


def run(scorer: Scorer, posts: list[Post]) -> Iterator[dict[str, Any]]:
    before = scorer.predict(posts)
    for name, change, applies, holds in TESTS:
        changed = [(post, old, text) for post, old in zip(posts, before, strict=True) if applies(post) and (text := change(post))]
        after = scorer.predict([text for _, _, text in changed])
        flagged = [holds(old, new) for (_, old, _), new in zip(changed, after, strict=True) if old.labels]
        low, high = wilson(sum(flagged), len(flagged))
        row: dict[str, Any] = {"change": name, "n": len(flagged), "n_right": sum(flagged), "low": low, "high": high}
        if holds is same_labels:
            targets = label_targets([post for post, _, _ in changed], scorer.taxonomy)
            groups = [group_of(post) for post, _, _ in changed]
            old, new = (
                np.array([[label in p.labels for label in scorer.labels] for p in side]) for side in ([o for _, o, _ in changed], after)
            )
            figures = {"before": macro_f1(targets, old, groups), "after": macro_f1(targets, new, groups)}
            row["macro_f1"] = {k: asdict(v) for k, v in {**figures, "lost": macro_f1_difference(targets, old, new, groups)}.items()}
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/posts"))
    parser.add_argument("--model", default=None)
    parser.add_argument("--part", choices=["train", "validation", "test"], default="test")
    parser.add_argument("--card", action="store_true", help="keep the figures in the bundle's metrics and card")
    arguments = parser.parse_args()
    scorer = Scorer.from_pretrained(arguments.model, config=ScoreConfig(evidence=False))
    config = scorer.bundle.train_config
    posts = read_corpus(arguments.data, scorer.taxonomy)
    split = split_corpus(posts, scorer.taxonomy, validation_share=config.validation_share, seed=config.seed)
    print(f"{arguments.part} part; posts that {scorer.bundle.name} flags")
    rows = []
    for row in run(scorer, split.part(arguments.part)):
        rows.append(row)
        share = row["n_right"] / max(1, row["n"])
        print(f"{row['change']:48} {row['n_right']:4} of {row['n']:4}  {share:6.1%}  [{row['low']:.1%}, {row['high']:.1%}]", end="")
        print(f"   macro-F1 lost {Figure(**row['macro_f1']['lost'])}" if "macro_f1" in row else "")
    if arguments.card:
        add_to_card(scorer.bundle, "behaviour", rows)


if __name__ == "__main__":
    main()
