"""Other versions of a training post: what people type, not what dictionaries hold, and what others make of it.

`augment` changes no meaning. `change_stance` does, and says which stance the new text has.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from narratives.records import Stance

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
    ways: list[Callable[[str, random.Random], str]] = [_typos, _case, _case, _no_punctuation, _no_emoji, _other_towns]
    if language in {"kk", "mixed"}:
        ways += [_drop_kazakh_letters] * 2
    if language == "kk":
        ways += [_to_latin] * 2
    return rng.choice(ways)(text, rng)


def change_stance(text: str, language: str | None, rng: random.Random) -> tuple[str, Stance]:
    """An endorsement that somebody answers, or quotes without taking a side, with the stance it then has."""
    kazakh = language == "kk"
    text = text.strip()
    if rng.random() < 0.6:
        answer = rng.choice(_ANSWERS_KK if kazakh else _ANSWERS_RU)
        return (f"{answer}\n{text}" if rng.random() < 0.25 else f"{text}\n{answer}"), "refutes"
    before, after = rng.choice(_QUOTES_KK if kazakh else _QUOTES_RU)
    return f"{before}{text}{after}", "reports"


_ANSWERS_RU = (
    "Проверили: неправда. Ни документов, ни свидетелей автор не показал.",
    "От редакции: это выдумка, в ведомстве её опровергли ещё вчера.",
    "ну и бред, сами-то верите в то что написали?",
    "Вердикт фактчекеров: ложное утверждение.",
    "Очередная страшилка. На деле всё иначе, и это легко проверить по открытым источникам.",
    "Процитировал, чтобы вы видели, какую чушь рассылают. Не пересылайте.",
    "Пресс-служба назвала сообщение не соответствующим действительности.",
    "Я там живу. Ничего подобного нет и не было, хватит врать.",
)
_ANSWERS_KK = (
    "Тексердік: шындыққа жанаспайды. Автор бірде-бір құжат көрсетпеген.",
    "Редакциядан: бұл ойдан шығарылған, ведомство кеше жоққа шығарды.",
    "өз жазғаныңа өзің сенесің бе, сандырақ қой",
    "Фактчекинг қорытындысы: жалған мәлімет.",
    "Кезекті үрейлі әңгіме. Іс жүзінде бәрі басқаша, ашық дереккөзден қарап алуға болады.",
    "Қандай сандырақ таратып жүргенін көрсін деп көшіріп қойдым. Ары қарай жібермеңіздер.",
    "Баспасөз қызметі хабарламаның шындыққа сай келмейтінін айтты.",
    "Мен сонда тұрамын. Ондай ештеңе жоқ, өтірік айтпаңдар.",
)
_QUOTES_RU = (
    ("Что сегодня пишут в каналах: «", "»"),
    ("В соцсетях разошёлся пост. Его текст: «", "». Комментариев официальных лиц пока нет."),
    ("Мониторинг недели, запись 4. Цитата: «", "» Просмотры растут."),
    ("Прислали в чат вот такое, кто знает, правда ли это?\n«", "»"),
)
_QUOTES_KK = (
    ("Арналарда бүгін былай жазып жатыр: «", "»"),
    ("Желіде мынадай жазба тарады: «", "». Ресми орындар әзірге үндеген жоқ."),
    ("Апталық мониторинг, 4-жазба. Дәйексөз: «", "» Қаралым өсіп келеді."),
    ("Чатқа мынаны жіберді, рас па екен?\n«", "»"),
)
_TOWNS = (
    ("Алматы", "Шымкент", "Актау", "Атырау", "Тараз", "Экибастуз", "Рудный", "Павлодар", "Костанай", "Кокшетау"),
    ("Алматы", "Шымкент", "Ақтау", "Атырау", "Тараз", "Екібастұз", "Рудный", "Павлодар", "Қостанай", "Көкшетау"),
)
_TOWN = re.compile(r"\b(?:" + "|".join(sorted({*_TOWNS[0], *_TOWNS[1]})) + r")\b")


def _other_towns(text: str, rng: random.Random) -> str:
    """Another town for each: only undeclined names, so that the sentence stays a sentence."""
    return _TOWN.sub(lambda m: rng.choice(_TOWNS[m[0] in _TOWNS[1]]), text)


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
