"""Annotated posts: read, checked, split by group. Which group is test is decided here and nowhere else (`is_test_group`)."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from narratives.errors import ConfigError, InputError, RecordError
from narratives.readers import read_posts
from narratives.records import STANCES, Post, RejectedRecord
from narratives.taxonomy import Taxonomy
from narratives.text.normalize import normalize
from narratives.training import near

TEST_PER_MILLE = 200
"""Groups whose hash falls below this share are test, for ever: adding posts moves no group."""
# Chosen once, of 400, for the evenest shares of labels, languages and stances; nothing was trained to choose it.
_TEST_SALT = "narratives-test-348"

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

NO_STANCE = -1
"""Stands in stance targets where a post carries no label."""


@dataclass(frozen=True, slots=True)
class Split:
    """Posts for fitting, for choosing (early stopping, calibration, thresholds) and for measuring. No group is in two."""

    train: list[Post]
    validation: list[Post]
    test: list[Post]

    def part(self, name: str) -> list[Post]:
        if name not in {"train", "validation", "test"}:
            raise ConfigError(f"unknown part {name!r}; expected train, validation or test")
        return list(getattr(self, name))


def read_corpus(path: str | Path, taxonomy: Taxonomy, *, text_column: str | None = None) -> list[Post]:
    """Read annotated posts from a file, or from all `*.jsonl` of a folder, in a fixed order: this project's own corpus. Commands, which
    take data of any form, read by `loaders.read_annotated`.

    Raises:
        InputError: no file, or none with a post.
        RecordError: a post is broken, has no labels field, an unknown label, or a stance that does not fit its labels.
            Training data is not triaged: one wrong row stops it, and the message says where.
    """
    path = Path(path)
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not files:
        raise InputError(path, "holds no *.jsonl file")
    posts: list[Post] = []
    for file in files:
        for number, item in enumerate(read_posts(file, text_column=text_column), start=1):
            if isinstance(item, RejectedRecord):
                raise RecordError(item.path, item.line, item.field, item.reason)
            posts.append(_checked(item, taxonomy, file, number))
    if not posts:
        raise InputError(path, "holds no posts")
    return posts


def _checked(post: Post, taxonomy: Taxonomy, file: Path, number: int) -> Post:
    labels = post.labels
    if labels is None:
        raise RecordError(file, number, "labels", "is missing; expected a list of label ids, [] for none")
    for label in labels:
        if label not in taxonomy.ids:
            raise RecordError(file, number, "labels", f"holds {label!r}; known: {', '.join(taxonomy.ids)}")
    if post.stance is not None and not labels:
        raise RecordError(file, number, "stance", f"is {post.stance!r} on a post without labels; expected null")
    return post


def group_of(post: Post) -> str:
    """The post's group; a post without one stands alone, with its copies."""
    return post.group or "text:" + hashlib.sha256(normalize(post.text).text.lower().encode()).hexdigest()[:16]


def is_test_group(group: str) -> bool:
    """Whether a group is in the frozen test part: decided by its name alone."""
    digest = hashlib.sha256(f"{_TEST_SALT}:{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % 1000 < TEST_PER_MILLE


def split_corpus(posts: Sequence[Post], taxonomy: Taxonomy, *, validation_share: float, seed: int) -> Split:
    """Test by hash of the group; validation from the rest, stratified by label, stance and language, groups whole.

    The stratification is iterative (Sechidis et al. 2011), over groups: each counts as one item that has all labels,
    stances and languages of its posts.

    Raises:
        ConfigError: a part would be empty.
    """
    test = [post for post in posts if is_test_group(group_of(post))]
    rest = [post for post in posts if not is_test_group(group_of(post))]
    if not test or len({group_of(post) for post in rest}) < _n_folds(validation_share):
        raise _too_few(len({group_of(post) for post in posts}), _n_folds(validation_share) + 2)
    return Split(*hold_out(rest, taxonomy, validation_share=validation_share, seed=seed), test)


def _n_folds(share: float) -> int:
    return max(2, round(1 / share))


def _too_few(n_groups: int, n_expected: int) -> ConfigError:
    return ConfigError(
        f"{n_groups} groups of posts are too few to split; expected at least {n_expected}. "
        "Posts of one event share a `group`; posts without one stand alone."
    )


def hold_out(posts: Sequence[Post], taxonomy: Taxonomy, *, validation_share: float, seed: int) -> tuple[list[Post], list[Post]]:
    """Posts to train on, and posts to choose on: stratified as `split_corpus` says, groups whole.

    Raises:
        ConfigError: there are fewer groups than folds.
    """
    groups: dict[str, list[Post]] = defaultdict(list)
    for post in posts:
        groups[group_of(post)].append(post)
    rest = sorted(groups)
    n_folds = _n_folds(validation_share)
    if len(rest) < n_folds:
        raise _too_few(len(rest), n_folds)
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

    kinds = [*taxonomy.ids, *STANCES, *sorted({post.language or "" for post in posts})]
    marks = np.zeros((len(rest), len(kinds)), dtype=np.int64)
    for row, group in enumerate(rest):
        for post in groups[group]:
            for kind in (*(post.labels or ()), post.stance, post.language or ""):
                if kind in kinds:
                    marks[row, kinds.index(kind)] = 1
    folds = MultilabelStratifiedKFold(n_splits=n_folds, shuffle=True, random_state=seed)
    _, chosen = next(iter(folds.split(np.zeros(len(rest)), marks)))
    validation_groups = {rest[i] for i in chosen}
    train = [p for p in posts if group_of(p) not in validation_groups]
    return train, [p for p in posts if group_of(p) in validation_groups]


def label_targets(posts: Sequence[Post], taxonomy: Taxonomy) -> BoolArray:
    """Multi-hot targets, shape (n_posts, n_labels), in taxonomy order."""
    return np.array([[i in (post.labels or ()) for i in taxonomy.ids] for post in posts], dtype=bool).reshape(-1, len(taxonomy))


def stance_targets(posts: Sequence[Post]) -> IntArray:
    """Index into `STANCES`, or `NO_STANCE`; shape (n_posts,)."""
    return np.array([STANCES.index(p.stance) if p.stance else NO_STANCE for p in posts], dtype=np.int64)


# ---- checking a corpus before anybody trains on it --------------------------------------------------------------------

_CORPUS_FIELDS = frozenset({"id", "text", "lang", "labels", "stance", "group", "register", "author_note"})
_LANGUAGES = frozenset({"ru", "kk", "mixed", "kk-latn"})


@dataclass(slots=True)
class CorpusReport:
    """What `check_corpus` found; `problems` is empty for a sound corpus. Counts are of posts."""

    problems: list[str] = field(default_factory=list)
    n_posts: int = 0
    n_groups: int = 0
    n_unlabelled: int = 0
    n_multi_label: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    stances: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    registers: Counter[str] = field(default_factory=Counter)
    label_languages: Counter[tuple[str, str]] = field(default_factory=Counter)


def check_corpus(folder: str | Path, taxonomy: Taxonomy) -> CorpusReport:
    """Read every `*.jsonl` of a folder strictly: fields, ids, labels, stances, duplicates, near-duplicates over groups.

    Raises:
        InputError: the folder holds no corpus file.
    """
    folder = Path(folder)
    files = sorted(folder.glob("*.jsonl")) if folder.is_dir() else [folder]
    if not files or not files[0].is_file():
        raise InputError(folder, "holds no *.jsonl file")
    report = CorpusReport()
    seen_ids: dict[str, str] = {}
    seen_texts: dict[str, str] = {}
    texts: list[tuple[str, str, str]] = []
    groups: set[str] = set()
    for file in files:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            where = f"{file.name}:{number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                report.problems.append(f"{where}: not valid JSON: {error}")
                continue
            if not isinstance(row, dict) or set(row) != _CORPUS_FIELDS:
                found = sorted(row) if isinstance(row, dict) else type(row).__name__
                report.problems.append(f"{where}: fields {found}, expected {sorted(_CORPUS_FIELDS)}")
                continue
            report.problems += [f"{where}: {problem}" for problem in _row_problems(row, taxonomy)]
            key = " ".join(normalize(str(row["text"])).text.lower().split())
            for kind, seen, value in (("id", seen_ids, str(row["id"])), ("text", seen_texts, key)):
                if value in seen:
                    report.problems.append(f"{where}: the same {kind} as {seen[value]}")
                seen[value] = where
            texts.append((where, str(row["group"]), key))
            groups.add(str(row["group"]))
            _count(report, row)
    report.n_groups = len(groups)
    report.problems += _near_duplicates(texts)
    return report


def _row_problems(row: dict[str, object], taxonomy: Taxonomy) -> Iterable[str]:
    labels, stance = row["labels"], row["stance"]
    if not isinstance(row["text"], str) or not row["text"].strip():
        yield 'field "text" is empty'
    if not isinstance(labels, list) or any(label not in taxonomy.ids for label in labels) or len(set(labels)) != len(labels):
        yield f'field "labels" is {labels!r}, expected a list of distinct ids out of {", ".join(taxonomy.ids)}'
    elif bool(labels) != (stance is not None):
        yield f'field "stance" is {stance!r} with labels {labels!r}; expected one exactly where there is a label'
    if stance is not None and stance not in STANCES:
        yield f'field "stance" is {stance!r}, expected one of {", ".join(STANCES)}'
    if row["lang"] not in _LANGUAGES:
        yield f'field "lang" is {row["lang"]!r}, expected one of {", ".join(sorted(_LANGUAGES))}'
    for name in ("id", "group", "register", "author_note"):
        if not isinstance(row[name], str) or not str(row[name]).strip():
            yield f'field "{name}" is empty'
    links = re.findall(r"(?i)\bhttps?://([^/\s]+)|\b(t\.me)/", str(row["text"]))
    for host, telegram in links:
        if telegram or not re.fullmatch(r"(?:[\w-]+\.)*example\.(?:org|com|net)", host.rstrip(").,»")):
            yield f"links to {host or telegram}; only example.org, example.com and example.net are nobody's"


def _count(report: CorpusReport, row: dict[str, object]) -> None:
    labels = [str(label) for label in row["labels"]] if isinstance(row["labels"], list) else []
    report.n_posts += 1
    report.n_unlabelled += not labels
    report.n_multi_label += len(labels) > 1
    report.labels.update(labels)
    report.stances.update([str(row["stance"])] if row["stance"] else [])
    report.languages.update([str(row["lang"])])
    report.registers.update([str(row["register"])])
    report.label_languages.update((label, str(row["lang"])) for label in labels)


def _near_duplicates(texts: Sequence[tuple[str, str, str]]) -> Iterable[str]:
    """Posts of different groups that share half of their word triples: copies that would leak from train to test."""
    # A corpus has no footers: however common its words, no copy may pass.
    for row, other, share in near.pairs((text for _, _, text in texts), max_holders=None):
        (where, group, _), (other_where, other_group, _) = texts[row], texts[other]
        if group != other_group:
            yield f"{where}: near-duplicate of {other_where} in another group ({share:.0%} shared)"
