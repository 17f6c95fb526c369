import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from narratives.text.normalize import _MAY_COMPOSE, normalize

KAZAKH = "Әлем, ғылым, қазақ, теңіз, өнер, ұлт, үміт, қаһарман, іс — ӘҒҚҢӨҰҮҺІ"


def clean(text: str) -> str:
    return normalize(text).text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("НAТО", "НАТО"),  # Latin A
        ("НАТ0", "НАТО"),
        ("H@TO", "НАТО"),
        ("Н А Т О в Азии", "НАТО в Азии"),
        ("С.Ш.А. и Европа", "США. и Европа"),
        ("б и о л а б ы", "биолабы"),
        ("бiз бiрге", "біз бірге"),  # Latin i for the Kazakh letter
        ("əлем", "əлем".replace("ə", "ә") if False else "əлем"),
        ("за\u200bпад и \u00adСША", "запад и США"),
        ("и\u0306од", "йод"),
        ("**жирный** и __курсив__ ||скрыто||", "жирный и курсив скрыто"),
        ("[читать](https://example.org/a?b=c)", "читать"),
        ("см. https://t.me/abc/12, потом", "см. URL, потом"),
        ("t.me/joinchat/AAAA", "URL"),
        ("пишет @some_channel.", "пишет @user."),
        ("a\r\nb\u2028c", "a\nb\nc"),
        ("много   пробелов\u00a0тут", "много пробелов тут"),
    ],
)
def test_disguise_and_formatting_are_undone(text: str, expected: str) -> None:
    if text == "əлем":  # one Cyrillic look-alike from another script, in an otherwise Cyrillic word
        expected = "әлем"
    assert clean(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        KAZAKH,
        "covid19, GPT4, F16, iPhone, VPNы, IT-шник",
        "Т-34, Урал4, 2й этаж, 10А класс, А4",
        "я и о нём; с 1 по 5",
        "Слава Україні, Беларусь, Ўзбекистон",
        "новости@habr",
        "цена 100$ и 5% скидка",
        "😂😂 Қазақстан 🇰🇿",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert clean(text) == text


def test_a_span_of_clean_text_is_found_in_the_post() -> None:
    post = "Смотрите: **базы** Н\u200bА Т О https://t.me/abc/1 в НAТО!"
    result = normalize(post)
    for word, expected in (("базы", "базы"), ("НАТО!", "НAТО!"), ("URL", "https://t.me/abc/1"), ("Смотрите", "Смотрите")):
        start = result.text.rindex(word)
        a, b = result.to_original(start, start + len(word))
        assert post[a:b] == expected


def test_a_span_outside_the_text_is_refused() -> None:
    with pytest.raises(ValueError, match="not inside a text of 3 characters"):
        normalize("abc").to_original(0, 4)


pieces = st.sampled_from(
    [
        "НAТО",
        "Н А Т О",
        "H@TO",
        "қазақ",
        "бiз",
        "**",
        "__",
        " ",
        "\n",
        "\u200b",
        "е\u0301",
        "и\u0306",
        "https://t.me/x/1",
        "@user_name",
        "[a](http://x.y)",
        "😂",
        "0",
        "t.me/a",
        "і",
        "\u1100\u1161",
    ]
)
texts = st.one_of(st.text(max_size=200), st.lists(pieces | st.text(max_size=4), max_size=30).map("".join))


@given(texts)
@settings(max_examples=400, deadline=None)
def test_every_span_maps_into_the_post_and_order_is_kept(text: str) -> None:
    result = normalize(text)
    ends = [result.to_original(i, i) for i in range(len(result.text) + 1)]
    assert all(0 <= a <= len(text) for a, _ in ends)
    assert [a for a, _ in ends] == sorted(a for a, _ in ends)
    for start in range(len(result.text)):
        a, b = result.to_original(start, start + 1)
        assert 0 <= a <= b <= len(text)
    if result.text:
        assert result.to_original(0, len(result.text))[0] <= len(text)


@given(
    st.lists(st.text(max_size=5) | st.sampled_from(["а\u0301\u0316\u0301", "НAТО", "**", "\u200b"]), max_size=6).map("".join),
    st.integers(1, 400),
)
@settings(max_examples=100, deadline=None)
def test_long_runs_of_marks_keep_the_map(piece: str, n: int) -> None:
    text = piece + "\u0301\u0316" * n + piece + "о" * 1100
    result = normalize(text)
    ends = [result.to_original(i, i)[0] for i in range(len(result.text) + 1)]
    assert ends == sorted(ends)
    assert ends[-1] <= len(text)
    assert result.text.endswith("о" * 1100)
    start = len(result.text) - 1100
    first, end = result.to_original(start, len(result.text))
    # What was left out right before them, such as an invisible character, may count to them.
    assert len(text) - 1100 - len(piece) <= first <= len(text) - 1100
    assert end == len(text)


def test_a_short_run_of_marks_is_composed_as_unicode_says() -> None:
    text = ("и\u0306" + "е\u0308" + "a\u0323\u0302") * 400
    assert clean(text) == unicodedata.normalize("NFC", text)


@given(texts)
@settings(max_examples=300, deadline=None)
def test_unchanged_characters_map_to_themselves(text: str) -> None:
    result = normalize(text)
    if not result.steps:
        assert result.text == text
        assert all(result.to_original(i, i + 1) == (i, i + 1) for i in range(len(text)))


@given(texts)
@settings(max_examples=300, deadline=None)
def test_the_result_has_no_lone_surrogate_and_no_control_character(text: str) -> None:
    result = clean(text)
    result.encode("utf-8")
    assert not [c for c in result if unicodedata.category(c) == "Cc" and c not in "\n\t"]


@given(st.text(alphabet="абвәғқңөұүһіАӘҚ ,.!", max_size=80))
@settings(max_examples=200, deadline=None)
def test_kazakh_letters_are_never_changed(text: str) -> None:
    kept = [c for c in text if c.lower() in "әғқңөұүһі"]
    assert [c for c in clean(text) if c.lower() in "әғқңөұүһі"] == kept


def test_what_is_never_composed_is_so_in_unicode() -> None:
    left_alone = {c for c in map(chr, range(sys.maxunicode + 1)) if not _MAY_COMPOSE.match(c)}
    assert set("aяқ—…«»№😀") <= left_alone
    assert all(unicodedata.normalize("NFC", c) == c and not unicodedata.combining(c) for c in left_alone)
    joined = (unicodedata.decomposition(c).split() for c in map(chr, range(sys.maxunicode + 1)))
    pairs = [[chr(int(code, 16)) for code in codes] for codes in joined if len(codes) == 2 and not codes[0].startswith("<")]
    assert len(pairs) > 900
    assert not [pair for pair in pairs if left_alone.issuperset(pair)]


@pytest.mark.parametrize("address", ["HTTPS://a.kz/x", "WwW.a.kz", "wWW.a.kz", "t.me/a_b", "tg://b", "www.a.kz"])
def test_addresses_are_found_in_any_case(address: str) -> None:
    assert normalize(f"Смотри {address}, там всё").text == "Смотри URL, там всё"
