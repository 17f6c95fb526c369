import json
from pathlib import Path

import numpy as np
import pytest

from narratives.errors import ConfigError, InputError, RecordError
from narratives.records import Post
from narratives.taxonomy import Taxonomy
from narratives.training.corpus import (
    check_corpus,
    group_of,
    is_test_group,
    label_targets,
    read_corpus,
    split_corpus,
    stance_targets,
)


def test_no_group_is_on_two_sides(weather: Taxonomy, posts: list[Post]) -> None:
    split = split_corpus(posts, weather, validation_share=0.15, seed=1)
    groups = [{group_of(p) for p in part} for part in (split.train, split.validation, split.test)]
    assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
    assert len(split.train) + len(split.validation) + len(split.test) == len(posts)


def test_the_test_part_depends_on_nothing_but_the_group(weather: Taxonomy, posts: list[Post]) -> None:
    first = split_corpus(posts, weather, validation_share=0.15, seed=1).test
    second = split_corpus(posts[::-1] + [Post(text="новый", labels=(), group="new")], weather, validation_share=0.3, seed=2).test
    assert {p.id for p in first} <= {p.id for p in second}
    assert all(is_test_group(group_of(p)) for p in first)


def test_a_fifth_of_many_groups_is_test() -> None:
    share = np.mean([is_test_group(f"group-{i}") for i in range(5000)])
    assert 0.18 < share < 0.22


def test_validation_has_every_label_and_stance(weather: Taxonomy, posts: list[Post]) -> None:
    split = split_corpus(posts, weather, validation_share=0.15, seed=3)
    assert {label for p in split.validation for label in p.labels or ()} == {"rain", "snow"}
    assert {p.stance for p in split.validation if p.stance} == {"endorses", "reports", "refutes"}


def test_copies_without_a_group_stay_together() -> None:
    assert group_of(Post(text="Базы  НАТО")) == group_of(Post(text="базы НАТО"))


def test_too_few_groups_are_refused(weather: Taxonomy, posts: list[Post]) -> None:
    with pytest.raises(ConfigError, match="groups of posts are too few to split"):
        split_corpus(posts[:6], weather, validation_share=0.15, seed=1)


def test_targets_follow_taxonomy_order(weather: Taxonomy) -> None:
    some = [Post(text="a", labels=("snow",), stance="refutes"), Post(text="b", labels=())]
    assert label_targets(some, weather).tolist() == [[False, True], [False, False]]
    assert stance_targets(some).tolist() == [2, -1]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "а"}, r'a\.jsonl:1: field "labels" is missing'),
        ({"text": "а", "labels": ["hail"]}, "holds 'hail'; known: rain, snow"),
        ({"text": "а", "labels": [], "stance": "reports"}, "is 'reports' on a post without labels"),
        ({"labels": ["rain"]}, "no text column"),
    ],
)
def test_one_wrong_row_stops_training_and_is_named(tmp_path: Path, weather: Taxonomy, row: dict[str, object], message: str) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises((RecordError, InputError), match=message):
        read_corpus(tmp_path, weather)


def test_the_check_finds_what_is_wrong(tmp_path: Path, weather: Taxonomy) -> None:
    good = {
        "id": "1", "text": "раз два три четыре пять шесть семь", "lang": "ru", "labels": ["rain"], "stance": "reports", "group": "a",
        "register": "chat", "author_note": "n",
    }  # fmt: skip
    rows = [
        good,
        {**good, "group": "b", "text": "раз два три четыре пять шесть восемь"},  # same id; near-duplicate in another group
        {**good, "id": "3", "labels": [], "text": "другое"},
        {**good, "id": "4", "labels": ["hail"], "text": "третье"},
        {**good, "id": "5", "text": "смотри t.me/kanal"},
        {"id": "6"},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    problems = "\n".join(check_corpus(tmp_path, weather).problems)
    for expected in (
        "a.jsonl:2: the same id as a.jsonl:1",
        "a.jsonl:2: near-duplicate of a.jsonl:1 in another group",
        "a.jsonl:3: field \"stance\" is 'reports' with labels []",
        "a.jsonl:4: field \"labels\" is ['hail']",
        "a.jsonl:5: links to t.me",
        "a.jsonl:6: fields ['id'], expected",
    ):
        assert expected in problems
