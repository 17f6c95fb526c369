from hypothesis import given, settings
from hypothesis import strategies as st

from narratives.text.windows import sentences, windows


def count_words(texts: object) -> list[int]:
    return [len(text.split()) for text in texts]  # type: ignore[attr-defined]


def test_a_line_break_ends_a_sentence_and_an_abbreviation_does_not() -> None:
    text = "Это было в 2022 г. летом, т.е. давно. Потом дождь!\nҚазақстанда 2022 ж. болды"
    assert [text[a:b] for a, b in sentences(text)] == [
        "Это было в 2022 г. летом, т.е. давно.",
        "Потом дождь!",
        "Қазақстанда 2022 ж. болды",
    ]


def test_windows_hold_whole_sentences_and_share_one() -> None:
    text = "Один два три. Четыре пять шесть. Семь восемь девять. Десять."
    found = windows(text, count_words, max_tokens=6, max_windows=10)
    assert [text[a:b] for a, b in found.spans] == [
        "Один два три. Четыре пять шесть.",
        "Четыре пять шесть. Семь восемь девять.",
        "Семь восемь девять. Десять.",
    ]
    assert not found.truncated


def test_more_text_than_windows_is_said() -> None:
    found = windows("Слово тут. " * 50, count_words, max_tokens=4, max_windows=3)
    assert len(found.spans) == 3
    assert found.truncated


@given(st.lists(st.text(alphabet="абв .!?\n", max_size=40), max_size=30).map(" ".join), st.integers(2, 12))
@settings(max_examples=150, deadline=None)
def test_no_word_is_lost_and_no_window_is_too_long(text: str, max_tokens: int) -> None:
    found = windows(text, count_words, max_tokens=max_tokens, max_windows=10_000)
    covered = [False] * len(text)
    for a, b in found.spans:
        assert len(text[a:b].split()) <= max_tokens
        covered[a:b] = [True] * (b - a)
    assert all(done or character.isspace() for done, character in zip(covered, text, strict=True))
