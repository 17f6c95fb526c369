from narratives.backends.linear import term_counts
from narratives.training.augment import drop_kazakh_letters

POST = "Бүгін Алматыда жаңбыр жауып тұр, ағайын, ёлка мен чай қымбат"


def test_case_and_missing_kazakh_letters_change_no_feature() -> None:
    assert term_counts(POST) == term_counts(POST.upper()) == term_counts(drop_kazakh_letters(POST))


def test_another_word_order_keeps_words_and_changes_pairs() -> None:
    here, there = term_counts("дождь снег"), term_counts("снег дождь")
    assert here != there
    assert sum((here & there).values()) == sum(here.values()) - 1


def test_a_text_without_words_has_no_feature() -> None:
    assert not term_counts("😂 … !!!")
