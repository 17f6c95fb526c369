"""Search by the words of texts gives what looking through the texts gives."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from narratives.review import words as module
from narratives.review.words import Words

TEXTS = ["", "База НАТО.", None, "базу\tнато\nзакрыли", " ", "ҚАЗАҚ тілі", "қазақша база-нато", "https://t.me/База", "", "a\u00a0b"]


def made(texts: Sequence[str | None], at_once: int) -> Words:
    built = Words()
    for start in range(0, len(texts), at_once):
        part = texts[start : start + at_once]
        built.add(np.arange(start, start + len(part), dtype=np.int32), pa.array(part, pa.large_string()))
    built.seal()
    return built


def slowly(texts: Sequence[str | None], words: Sequence[str]) -> list[int]:
    return [row for row, text in enumerate(texts) if all(word in (text or "").lower() for word in words)]


@pytest.mark.parametrize("words", [["база"], ["нато"], ["базу", "нато"], ["аза"], ["қазақ"], ["."], ["t.me/б"], ["нет"], ["a"], ["b"], []])
def test_a_part_of_a_word_in_any_case_is_found(words: list[str]) -> None:
    assert made(TEXTS, 3).find(words).tolist() == slowly(TEXTS, words)


def test_no_text_and_no_post_is_no_hit() -> None:
    assert made([], 3).find(["а"]).tolist() == []
    assert made(["", None, "  "], 2).find(["а"]).tolist() == []


def test_parts_of_any_size_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(0)
    texts = [" ".join("".join(draw.choices("абвАБВ", k=draw.randint(1, 4))) for _ in range(draw.randint(0, 6))) for _ in range(300)]
    for part, at_once in ((10, 3), (64, 64), (1000, 7)):
        monkeypatch.setattr(module, "POSTS_OF_PART", part)
        built = made(texts, at_once)
        for words in (["а"], ["абв"], ["аб", "в"], ["вввв"], ["гг"]):
            assert built.find(words).tolist() == slowly(texts, words), (part, words)
