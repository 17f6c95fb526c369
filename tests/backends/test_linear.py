import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from narratives.backends import terms as terms_module
from narratives.backends.linear import LinearModel, tf_idf
from narratives.backends.terms import N_FEATURES, Terms, count_terms
from narratives.training.augment import drop_kazakh_letters

POST = "Бүгін Алматыда жаңбыр жауып тұр, ағайын, ёлка мен чай қымбат"


def rows(texts: list[str]) -> list[dict[int, float]]:
    terms = count_terms(texts)
    return [
        dict(zip(terms.columns[a:b].tolist(), terms.counts[a:b].tolist(), strict=True))
        for a, b in zip(terms.starts[:-1], terms.starts[1:], strict=True)
    ]


def test_case_and_missing_kazakh_letters_change_no_feature() -> None:
    plain, upper, dropped = rows([POST, POST.upper(), drop_kazakh_letters(POST)])
    assert plain == upper == dropped


def test_another_word_order_keeps_words_and_changes_pairs() -> None:
    here, there = (Counter(row) for row in rows(["дождь снег", "снег дождь"]))
    assert here != there
    assert sum((here & there).values()) == sum(here.values()) - 1


def test_a_text_without_words_has_no_feature() -> None:
    assert rows(["😂 … !!!", "", "дом"])[:2] == [{}, {}]


@given(st.lists(st.text(st.characters(codec="utf-8", max_codepoint=0x4FF), max_size=40), max_size=6))
def test_a_text_has_as_many_features_as_words_pairs_and_grams(texts: list[str]) -> None:
    for text, row in zip(texts, rows(texts), strict=True):
        folded = text.lower().translate(terms_module._FOLDED)
        words = re.findall(r"\w+", "".join(c if c.isalnum() or c == "_" else " " for c in folded))
        n_grams = sum(max(0, len(word) + 2 - n + 1) for word in words for n in (3, 4, 5))
        assert sum(row.values()) == len(words) + max(0, len(words) - 1) + n_grams


@given(st.lists(st.text(max_size=30), min_size=1, max_size=5))
def test_the_features_of_a_text_do_not_depend_on_its_neighbours(texts: list[str]) -> None:
    assert rows(texts) == [rows([text])[0] for text in texts]


def test_weights_have_length_one_and_outputs_are_their_sums() -> None:
    texts = [POST, "", "дом дом дом"]
    rng = np.random.default_rng(0)
    idf = rng.random(N_FEATURES).astype(np.float32) + 1
    weight = rng.normal(size=(2, N_FEATURES)).astype(np.float32)
    terms: Terms = count_terms(texts)
    values = tf_idf(terms, idf)
    assert np.linalg.norm(values[: terms.starts[1]]) == pytest.approx(1)
    found = LinearModel({"idf": idf, "labels.weight": weight, "labels.bias": np.array([0.5, -0.5])}).outputs(texts)["labels"]
    assert found[1].tolist() == [0.5, -0.5]
    expected = weight[:, terms.columns[: terms.starts[1]]] @ values[: terms.starts[1]] + [0.5, -0.5]
    assert found[0] == pytest.approx(expected, rel=1e-4)
