"""Other spellings of a training post: what people type, not what dictionaries hold. Nothing here changes a meaning."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

_DROPPED = str.maketrans("әғқңөұүһіӘҒҚҢӨҰҮҺІ", "агкноуухиАГКНОУУХИ")
_LATIN_2021 = {
    "а": "a", "ә": "ä", "б": "b", "в": "v", "г": "g", "ғ": "ğ", "д": "d", "е": "e", "ё": "io", "ж": "j", "з": "z",
    "и": "i", "й": "i", "к": "k", "қ": "q", "л": "l", "м": "m", "н": "n", "ң": "ñ", "о": "o", "ө": "ö", "п": "p",
    "р": "r", "с": "s", "т": "t", "у": "u", "ұ": "ū", "ү": "ü", "ф": "f", "х": "h", "һ": "h", "ц": "ts", "ч": "ch",
    "ш": "ş", "щ": "ş", "ъ": "", "ы": "y", "і": "ı", "ь": "", "э": "e", "ю": "iu", "я": "ia",
}  # fmt: skip
_LATIN_CHAT = {**_LATIN_2021, "ә": "a", "ғ": "g", "ж": "zh", "ң": "n", "ө": "o", "ұ": "u", "ү": "u", "ш": "sh", "щ": "sh", "і": "i"}
_EMOJI = re.compile("[\u2600-\u27bf\U0001f000-\U0001faff]+")


def augment(text: str, language: str | None, rng: random.Random) -> str:
    """One other spelling of a text, chosen by chance among those that fit its language."""
    ways: list[Callable[[str, random.Random], str]] = [_typos, _case, _no_punctuation, _no_emoji]
    if language in {"kk", "mixed"}:
        ways += [_drop_kazakh_letters] * 2
    if language == "kk":
        ways += [_to_latin] * 2
    return rng.choice(ways)(text, rng)


def drop_kazakh_letters(text: str) -> str:
    """Kazakh as typed on a Russian keyboard."""
    return text.translate(_DROPPED)


def to_latin(text: str, *, chat: bool = False) -> str:
    """Kazakh in Latin letters: the alphabet of 2021, or the spelling of chats without diacritics."""
    table = _LATIN_CHAT if chat else _LATIN_2021
    letters = []
    for character in text:
        latin = table.get(character.lower(), character)
        letters.append(latin if character.islower() or latin == character else latin.capitalize())
    return "".join(letters)


def _drop_kazakh_letters(text: str, _rng: random.Random) -> str:
    return drop_kazakh_letters(text)


def _to_latin(text: str, rng: random.Random) -> str:
    return to_latin(text, chat=rng.random() < 0.5)


def _typos(text: str, rng: random.Random) -> str:
    letters = list(text)
    for _ in range(max(1, len(letters) // 60)):
        at = rng.randrange(len(letters))
        if not letters[at].isalpha():
            continue
        kind = rng.randrange(3)
        if kind == 0:
            letters[at] = ""
        elif kind == 1:
            letters[at] *= 2
        elif at + 1 < len(letters):
            letters[at], letters[at + 1] = letters[at + 1], letters[at]
    return "".join(letters)


def _case(text: str, rng: random.Random) -> str:
    return text.upper() if rng.random() < 0.3 else text.lower()


def _no_punctuation(text: str, _rng: random.Random) -> str:
    return re.sub(r"[.,!?;:—–\-«»\"()]+", " ", text)


def _no_emoji(text: str, _rng: random.Random) -> str:
    return _EMOJI.sub("", text)
