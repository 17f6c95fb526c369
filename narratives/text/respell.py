"""Kazakh in Latin letters, written in Cyrillic: what a model reads.

Multilingual encoders have seen little Kazakh in Latin letters, and of its spellings (the alphabets of 2017, 2018 and 2021;
chats without diacritics) each a little. In Cyrillic it is close to what they know: like Kazakh typed on a Russian keyboard.
"""

from __future__ import annotations

import re

from narratives.text.language import detect

_LETTERS = {
    "a": "а", "ä": "ә", "á": "ә", "b": "б", "c": "ц", "d": "д", "e": "е", "f": "ф", "g": "г", "ğ": "ғ", "ǵ": "ғ", "h": "х", "i": "и",
    "ı": "і", "j": "ж", "k": "к", "l": "л", "m": "м", "n": "н", "ñ": "ң", "ń": "ң", "o": "о", "ö": "ө", "ó": "ө", "p": "п",
    "q": "қ", "r": "р", "s": "с", "ş": "ш", "t": "т", "u": "у", "ū": "ұ", "ü": "ү", "ú": "ү", "v": "в", "w": "у", "x": "х", "y": "ы",
    "ý": "у", "z": "з",
}  # fmt: skip
_APOSTROPHES = {
    "a'": "ә", "g'": "ғ", "i'": "и", "n'": "ң", "o'": "ө", "s'": "ш", "c'": "ч", "u'": "ү", "y'": "у",
}  # fmt: skip
_PAIRS = {
    **_APOSTROPHES, "sh": "ш", "ch": "ч", "zh": "ж", "kh": "х", "gh": "ғ", "ts": "ц", "iu": "ю", "yu": "ю", "ia": "я", "ya": "я",
    "shch": "щ", "tsh": "тш",
}  # fmt: skip
_ANY = re.compile("|".join([*sorted(_PAIRS, key=len, reverse=True), *_LETTERS]).replace("'", "['’ʼ]"), re.IGNORECASE)
_LATIN_WORD = re.compile(r"[a-zA-Z\u00c0-\u024f]+(?:['’ʼ][a-zA-Z\u00c0-\u024f]*)*")
_PLACEHOLDERS = frozenset({"URL", "user"})


def is_latin_kazakh(text: str) -> bool:
    """Whether a clean text is Kazakh, or Kazakh mixed with Russian, and at least half of its letters are Latin."""
    n_latin = sum(map(len, _LATIN_WORD.findall(text)))
    # Counted first: the language of most posts need not be guessed.
    return bool(n_latin) and 2 * n_latin >= sum(map(str.isalpha, text)) and detect(text).language in {"kk", "mixed"}


def to_cyrillic(text: str) -> str:
    """Every Latin word of a clean text in Cyrillic letters; the placeholders of `normalize` stay."""
    return _LATIN_WORD.sub(lambda m: m[0] if m[0] in _PLACEHOLDERS else _ANY.sub(_letter, m[0]), text)


def latin_kazakh_to_cyrillic(text: str) -> str:
    """A clean text as models read it: `to_cyrillic` if it `is_latin_kazakh`, else as it is."""
    return to_cyrillic(text) if is_latin_kazakh(text) else text


def _letter(match: re.Match[str]) -> str:
    latin = match[0]
    # "İ" has two code points in lower case.
    cyrillic = _PAIRS.get(re.sub("[’ʼ]", "'", latin.lower())) or _LETTERS.get(latin.lower()[:1], latin)
    return cyrillic.capitalize() if latin[0].isupper() else cyrillic
