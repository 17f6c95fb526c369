"""Kazakh for spaCy, which ships none: `spacy.blank("kk")`. A tokenizer with abbreviations, stop words, and what looks like a number.

Registered under the entry point `spacy_languages`, so that a pipeline saved with it loads wherever narratives is installed.
"""

from __future__ import annotations

from spacy.attrs import LIKE_NUM, NORM, ORTH
from spacy.lang.char_classes import ALPHA, ALPHA_LOWER, ALPHA_UPPER, CONCAT_QUOTES, HYPHENS, LIST_ELLIPSES, LIST_ICONS, UNITS
from spacy.lang.char_classes import LIST_PUNCT as _PUNCT
from spacy.lang.char_classes import LIST_QUOTES as _QUOTES
from spacy.lang.tokenizer_exceptions import BASE_EXCEPTIONS
from spacy.language import BaseDefaults, Language
from spacy.util import registry, update_exc

_OWN_LOWER, _OWN_UPPER = "әғқңөұүһі", "ӘҒҚҢӨҰҮҺІ"
_LOWER, _UPPER, _LETTER = f"{ALPHA_LOWER}{_OWN_LOWER}", f"{ALPHA_UPPER}{_OWN_UPPER}", f"{ALPHA}{_OWN_LOWER}{_OWN_UPPER}"
"""spaCy's Cyrillic has no ғ, қ or ұ."""

# A hyphen stays inside a word: "бас-басына", "НАТО-ның", "ҚР-да".
_OTHER_HYPHENS = "|".join(h for h in HYPHENS.split("|") if h != "-")
_INFIXES = [
    *LIST_ELLIPSES,
    *LIST_ICONS,
    rf"(?<=[{_LOWER}])\.(?=[{_UPPER}])",
    rf"(?<=[{_LETTER}])[,!?/()]+(?=[{_LETTER}])",
    rf"(?<=[{_LETTER}{CONCAT_QUOTES}])[:<>=](?=[{_LETTER}])",
    rf"(?<=[{_LETTER}])(?:--|{_OTHER_HYPHENS})(?=[{_LETTER}])",
]
_SUFFIXES = [
    *_PUNCT,
    *LIST_ELLIPSES,
    *_QUOTES,
    *LIST_ICONS,
    "—",
    "–",
    r"(?<=[0-9])\+",
    rf"(?<=[0-9])(?:{UNITS})",
    r"(?<=[0-9%²\-\+" + _LOWER + r"(?:" + CONCAT_QUOTES + r")])\.",
    rf"(?<=[{_UPPER}][{_UPPER}])\.",
]

_ABBREVIATIONS = {
    "т.б.": "тағы басқа", "т.с.с.": "тағы сол сияқты", "т.": "том", "б.з.д.": "біздің заманымыздан бұрын", "ж.": "жыл", "жж.": "жылдар",
    "ғ.": "ғасыр", "ғғ.": "ғасырлар", "мың.": "мың", "млн.": "миллион", "млрд.": "миллиард", "обл.": "облыс", "қ.": "қала",
    "к-сі": "көшесі", "ауд.": "аудан", "проф.": "профессор", "т.ғ.к.": "техника ғылымдарының кандидаты",
    "б-ша": "бойынша", "т.ж.": "төтенше жағдай",
}  # fmt: skip

STOP_WORDS = set(
    (
        "ал алайда арқылы атап бар барлық бәрі бері бірақ біз бізге біздің бір біреу бола болады болған болса болып бойынша бойы бұл бұлар "
        "бұрын ғана да дейін деген деп дейді десе де дәл егер ед еді екен емес ең ешкім және жоқ жөнінде жуық мен менің мені мына мынау не "
        "неге немесе несі о ол олар олардың онда оның осы осындай өз өзі өте па пе ма ме ба бе сен сендер сіз сіздер сияқты сол солай "
        "сондай сондықтан сонымен соң та те тағы тек туралы түгел үшін шейін қай қайсы қалай қандай қарай қатар кейін кім"
    ).split()
)
_NUMBERS = frozenset(
    (
        "нөл бір екі үш төрт бес алты жеті сегіз тоғыз он жиырма отыз қырық елу алпыс жетпіс сексен тоқсан жүз мың миллион "
        "миллиард триллион"
    ).split()
)


def like_num(text: str) -> bool:
    """Digits, fractions, and number words: "12,5", "3/4", "жиырма"."""
    text = text.lstrip("+-±~").replace(",", "").replace(".", "").lower()
    if text.isdigit() or text in _NUMBERS:
        return True
    numerator, slash, denominator = text.partition("/")
    return bool(slash) and numerator.isdigit() and denominator.isdigit()


class KazakhDefaults(BaseDefaults):
    tokenizer_exceptions = update_exc(BASE_EXCEPTIONS, {short: [{ORTH: short, NORM: full}] for short, full in _ABBREVIATIONS.items()})
    infixes = _INFIXES
    suffixes = _SUFFIXES
    stop_words = STOP_WORDS
    lex_attr_getters = {LIKE_NUM: like_num}  # noqa: RUF012  # spaCy's own shape of these defaults


@registry.languages("kk")
class Kazakh(Language):  # type: ignore[no-untyped-call]
    lang = "kk"
    Defaults = KazakhDefaults
