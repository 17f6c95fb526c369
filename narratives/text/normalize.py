"""Clean text for the model, with a map back to the original offsets.

What evasion and formatting put between a reader and a word is undone, and nothing else: no lower-casing, no
stemming, no dropped words; Kazakh letters are never changed. `normalize(text)` gives a `NormalizedText` whose
`to_original(start, end)` says where a stretch of the clean text stood in the post.

The steps, in order: broken code points, invisible characters, Unicode NFC, Telegram's Markdown marks, links and
mentions (each a placeholder: a t.me link costs 23 tokens and would let a channel's name give a label away), spaced
letters ("Н А Т О"), look-alike letters inside words of mixed script ("НAТО", "НАТ0", "H@TO"), runs of white space.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import disarm

URL_PLACEHOLDER = "URL"
MENTION_PLACEHOLDER = "@user"

_MAX_MARKS = 31
"""Marks composed with one letter; no language writes more than a few."""
_LONG = 1024
"""Characters from which a text is looked through for runs of marks; in a shorter one they cost nothing."""


@dataclass(frozen=True, slots=True)
class _Edit:
    """`before[start:end]` became `after[new_start:new_end]` in one step."""

    start: int
    end: int
    new_start: int
    new_end: int


@dataclass(frozen=True, slots=True)
class NormalizedText:
    """Clean text with the way back: one tuple of edits a step, in the order the steps ran."""

    text: str
    original: str
    steps: tuple[tuple[_Edit, ...], ...] = ()

    def to_original(self, start: int, end: int) -> tuple[int, int]:
        """Where `text[start:end]` stood: Python offsets into `original`.

        A stretch that cuts through a replaced part widens to the whole of it. Raises ValueError unless
        0 <= start <= end <= len(text).
        """
        if not 0 <= start <= end <= len(self.text):
            raise ValueError(f"[{start}, {end}] is not inside a text of {len(self.text)} characters")
        for edits in reversed(self.steps):
            start, end = _before(edits, start, end)
        return start, end


def _before(edits: tuple[_Edit, ...], start: int, end: int) -> tuple[int, int]:
    """Undo one step for a span: positions between edits shift, positions inside one go to its edge."""
    empty = start == end
    old_start = old_end = None
    shift = 0
    for edit in edits:
        if old_start is None and start < edit.new_end:
            old_start = edit.start if start > edit.new_start else start + shift
        if end <= edit.new_start:
            break
        if end < edit.new_end:
            old_end = edit.end
            break
        shift = edit.end - edit.new_end
        if old_start is None and start == edit.new_end:
            old_start = start + shift
    if old_start is None:
        old_start = start + shift
    if old_end is None:
        old_end = end + shift
    return (old_start, old_start) if empty else (old_start, max(old_start, old_end))


# Soft hyphen, combining grapheme joiner, Mongolian and Hangul fillers, zero-width and direction marks, variation
# selectors, tags, byte-order mark; control characters other than tab and newline; lone surrogates.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\U000e0000-\U000e0fff\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]+"
)
# All but characters that composing leaves alone and that never join: ASCII and Latin letters, Cyrillic without its own marks, punctuation,
# currencies, arrows to dingbats, emoji. A post of these alone, as nearly all are, is composed as it is.
_MAY_COMPOSE = re.compile(
    "[^\0-\u02ff\u0400-\u0482\u048a-\u052f\u200d\u2010-\u2027\u2030-\u205e\u20a0-\u20bf\u2116\u2122\u2190-\u2328\u232b-\u27ff\ufe0f"
    "\U0001f000-\U0001faff]"
)
_MARKDOWN = re.compile(
    r"\*\*|__|~~|\|\||```|`"  # bold, italic, strike, spoiler, code
)
_MARKDOWN_LINK = re.compile(r"\[([^\[\]\n]{1,300})\]\((?:https?://|tg://|www\.)[^\s()]{1,2000}\)")
_URL = re.compile(
    r"(?i)(?:\b(?:https?://|tg://|ftp://|www\.)|(?<![\w@.])(?:t\.me|vk\.com|youtu\.be|telegra\.ph)/)[^\s<>\"«»]*[^\s<>\"«».,;:!?)\]}'…*_~|]"
)
_MENTION = re.compile(r"(?<![\w@.])@[A-Za-z][A-Za-z0-9_]{3,31}\b")
# Single letters with one and the same separator between them: three or more capitals, or five or more of any case
# ("и я и о" are four words).
_UPPER = "A-ZА-ЯЁӘҒҚҢӨҰҮҺІ"
_SPACED = re.compile(
    rf"(?<![^\W_])[{_UPPER}]([ \u00a0.·*_\-|/])[{_UPPER}](?:\1[{_UPPER}])+(?![^\W_])"
    r"|(?<![^\W_])[^\W\d_]([ \u00a0.·*_\-|/])[^\W\d_](?:\2[^\W\d_]){3,}(?![^\W_])"
)
_BLANKS = re.compile(
    r"[ \t\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]{2,}|[\t\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]|\r\n?|\n{3,}|\u2028|\u2029"
)

_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f\u0259\u018f\u0275\u019f]")
_CYRILLIC = re.compile(r"[\u0400-\u052f]")
_ADDRESS = re.compile(r"[^\W_]+@[a-z]{2,}[a-z0-9]*")
_SUSPICIOUS = "A-Za-z\u0250-\u02af\u0370-\u03ff0-9@$\u018f\u019f"
# Words that hold something suspicious; the others, nearly all, are passed over at the regex engine's speed.
_WORD = re.compile(rf"(?:(?<![^\W_])(?=[^\W_]*[{_SUSPICIOUS}])|(?=[@$]))(?:[^\W_]*[@$][^\W_]+|[^\W_]+)")
# What the confusables table misses or gets wrong for Kazakh: Latin i, schwa and barred o stand for Kazakh letters.
_KAZAKH_LOOKALIKES = str.maketrans({"i": "і", "I": "І", "ə": "ә", "Ə": "Ә", "ɵ": "ө", "Ɵ": "Ө"})
_DIGITS_AS_LETTERS = {"0": "о", "3": "з", "4": "ч", "6": "б", "@": "а", "$": "с"}
_LATIN_LIKE_CYRILLIC = frozenset("ABCEHKMOPTXYaceopxy")


def normalize(text: str) -> NormalizedText:
    """Clean one post. Pure, deterministic and, applied twice, the same as once for ordinary text."""
    steps: list[tuple[_Edit, ...]] = []
    clean = text
    for step in _STEPS:
        clean, edits = step(clean)
        if edits:
            steps.append(edits)
    return NormalizedText(clean, text, tuple(steps))


_Step = Callable[[str], tuple[str, tuple[_Edit, ...]]]


def _rewrite(text: str, changes: Iterator[tuple[int, int, str]]) -> tuple[str, tuple[_Edit, ...]]:
    """Apply (start, end, replacement) in order, skipping those that change nothing."""
    parts: list[str] = []
    edits: list[_Edit] = []
    at = new_at = 0
    for start, end, replacement in changes:
        if text[start:end] == replacement:
            continue
        parts += (text[at:start], replacement)
        new_start = new_at + start - at
        new_at = new_start + len(replacement)
        edits.append(_Edit(start, end, new_start, new_at))
        at = end
    if not edits:
        return text, ()
    parts.append(text[at:])
    return "".join(parts), tuple(edits)


def _substitute(pattern: re.Pattern[str], replace: Callable[[re.Match[str]], str], *, within: Sequence[str] = ()) -> _Step:
    """A step of one pattern. Texts with none of the strings of `within`, which every match has one of, are passed over in no time."""

    def step(text: str) -> tuple[str, tuple[_Edit, ...]]:
        if within and not any(part in text for part in within):
            return text, ()
        return _rewrite(text, ((m.start(), m.end(), replace(m)) for m in pattern.finditer(text)))

    return step


def _compose(text: str) -> tuple[str, tuple[_Edit, ...]]:
    """Unicode NFC, one base character with its marks at a time."""
    if not _MAY_COMPOSE.search(text):
        return text, ()
    # Python orders marks by insertion: a hundred thousand of them on one letter would take a minute.
    if (len(text) < _LONG or not _marks().search(text)) and unicodedata.is_normalized("NFC", text):
        return text, ()
    return _rewrite(text, ((a, b, unicodedata.normalize("NFC", text[a:b])) for a, b in _clusters(text)))


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for at in range(1, len(text)):
        if at - start > _MAX_MARKS or not _joins_before(text[at]):
            yield start, at
            start = at
    yield start, len(text)


@lru_cache(maxsize=1)
def _marks() -> re.Pattern[str]:
    """A run of marks longer than Unicode's Stream-Safe Text Format allows (UAX #15, section 13)."""
    marks = "".join(re.escape(c) for c in map(chr, range(0x300, sys.maxunicode)) if unicodedata.combining(c))
    return re.compile(f"[{marks}]{{{_MAX_MARKS}}}")


def _joins_before(character: str) -> bool:
    # Marks, and Hangul vowels and finals, can compose with what stands before them.
    return unicodedata.category(character)[0] == "M" or "\u1160" <= character <= "\u11ff"


def _plain_blank(match: re.Match[str]) -> str:
    found = match.group()
    if found[0] in "\r\u2028\u2029":
        return "\n"
    return "\n\n" if found[0] == "\n" else " "


def _join_spaced(match: re.Match[str]) -> str:
    return match.group()[::2]


def _one_script(match: re.Match[str]) -> str:
    word = match.group()
    # An address ("новости@habr") is no disguise, and neither is a number.
    if word.isdecimal() or _ADDRESS.fullmatch(word):
        return word
    return _undisguise(word)


@lru_cache(maxsize=65536)
def _undisguise(word: str) -> str:
    """Give a word of mixed script, or with digits for letters, back its Cyrillic letters; leave other words alone."""
    n_cyrillic, n_latin = len(_CYRILLIC.findall(word)), len(_LATIN.findall(word))
    symbols = re.findall(r"[0-9@$]", word)
    if not n_cyrillic:
        # All Latin look-alikes with a sign inside ("H@TO") is a disguise; "covid19", "GPT4" and addresses are not.
        letters = set(word) - set("@$")
        if "@" in word[1:-1] and n_latin >= 3 and word.isupper() and letters <= _LATIN_LIKE_CYRILLIC:
            return disarm.normalize_confusables(word.replace("@", "А"), target_script="cyrillic")
        return word
    if n_latin and n_latin > n_cyrillic and not all(c in _LATIN_LIKE_CYRILLIC for c in _LATIN.findall(word)):
        return word  # "IT-шник" without its hyphen: a Latin word with a Cyrillic ending
    if n_latin and any(c.isalpha() and c not in _LATIN_LIKE_CYRILLIC and c not in "iIəƏɵƟhkmtbrnupBHKMT" for c in _LATIN.findall(word)):
        return word  # "VPNы", "QRкод": letters that imitate nothing
    if symbols and len(symbols) == 1 and n_cyrillic >= 3 and len(word) == n_cyrillic + n_latin + 1:
        word = _digit_to_letter(word, symbols[0])
    if n_latin or any(not ("\u0400" <= c <= "\u052f") and c.isalpha() for c in word):
        word = disarm.normalize_confusables(word.translate(_KAZAKH_LOOKALIKES), target_script="cyrillic")
    return word


def _digit_to_letter(word: str, symbol: str) -> str:
    at = word.index(symbol)
    # "НАТ0" and "Н4ТО" hide a letter; "Урал4" and "2й" carry a number: only 0, @ and $ may end or open a word.
    inside = 0 < at < len(word) - 1
    if symbol not in _DIGITS_AS_LETTERS or not (inside or symbol in "0@$"):
        return word
    letter = _DIGITS_AS_LETTERS[symbol]
    rest = word[:at] + word[at + 1 :]
    return word[:at] + (letter.upper() if rest.isupper() else letter) + word[at + 1 :]


_STEPS: tuple[_Step, ...] = (
    _substitute(_INVISIBLE, lambda match: ""),
    _compose,
    _substitute(_MARKDOWN_LINK, lambda match: match.group(1), within=("](",)),
    _substitute(_URL, lambda match: URL_PLACEHOLDER, within=("/", "ww.", "wW.", "Ww.", "WW.")),
    _substitute(_MENTION, lambda match: MENTION_PLACEHOLDER, within=("@",)),
    _substitute(_MARKDOWN, lambda match: ""),
    _substitute(_SPACED, _join_spaced),
    _substitute(_WORD, _one_script),
    _substitute(_BLANKS, _plain_blank),
)
