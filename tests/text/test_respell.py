import pytest

from narratives.text.respell import is_latin_kazakh, latin_kazakh_to_cyrillic, to_cyrillic
from narratives.training.augment import drop_kazakh_letters, to_latin

POST = "Бүгін Алматыда жаңбыр жауып тұр, ағайын, көлік жүргізушілер сақ болсын"


@pytest.mark.parametrize(
    ("latin", "cyrillic"),
    [
        ("Qazaqstan Respublikasynyñ astanasy Astana qalasy", "Қазақстан Республикасының астанасы Астана қаласы"),
        ("Salem qalaisyn, bugin zhangyrdy shyday almaimyn", "Салем қалаисын, бугин жангырды шыдаы алмаимын"),
        ("Bu'gin jan'byr jaýady, o'zim de ko'rdim", "Бүгин жаңбыр жауады, өзим де көрдим"),
        ("Оқушылар URL бойынша мекенжайға @user", "Оқушылар URL бойынша мекенжайға @user"),
    ],
)
def test_kazakh_in_latin_letters_becomes_cyrillic(latin: str, cyrillic: str) -> None:
    assert latin_kazakh_to_cyrillic(latin) == cyrillic


@pytest.mark.parametrize(
    "text", ["Hello, how are you today", "Сегодня в Алматы идёт дождь", POST, "", "NATO URL @user", "I don't know, that's o'clock"]
)
def test_any_other_text_stays(text: str) -> None:
    assert not is_latin_kazakh(text)
    assert latin_kazakh_to_cyrillic(text) == text


@pytest.mark.parametrize("chat", [False, True])
def test_a_post_comes_back_but_for_letters_that_latin_does_not_tell_apart(chat: bool) -> None:
    def plain(text: str) -> str:
        return drop_kazakh_letters(text).replace("й", "и")

    assert plain(latin_kazakh_to_cyrillic(to_latin(POST, chat=chat))) == plain(POST)


def test_case_and_placeholders_are_kept() -> None:
    assert to_cyrillic("SHYMKENT Shymkent URL @user") == "ШЫМКЕНТ Шымкент URL @user"
