import json
from pathlib import Path

import pytest

from narratives.text.language import detect


@pytest.mark.parametrize(
    ("text", "language", "script"),
    [
        ("Сегодня в Алматы идёт дождь", "ru", "cyrillic"),
        ("Бүгін Алматыда жаңбыр жауып тұр", "kk", "cyrillic"),
        ("Казакстанда бугин жылы болады, жанбыр жок", "kk", "cyrillic"),  # typed without the special letters
        ("Мен бугин жумыска барган жокпын", "kk", "cyrillic"),
        ("Бұл жерде всё нормально, бірақ мы не знаем что будет", "mixed", "cyrillic"),
        ("Qazaqstan Respublikasynyñ astanasy Astana qalasy", "kk", "latin"),
        ("Salem qalaisyn bugin kezdesemiz be", "kk", "latin"),
        ("Hello, how are you today", "other", "latin"),
        ("Сьогодні в Україні буде сонячно", "other", "cyrillic"),
        ("Кыргызстандын Президенти бүгүн жумушчу сапар менен келди", "other", "cyrillic"),
        ("😂😂 123", "other", "other"),
        ("", "other", "other"),
    ],
)
def test_language_and_script(text: str, language: str, script: str) -> None:
    guess = detect(text)
    assert (guess.language, guess.script) == (language, script)


def test_real_kazakh_is_taken_for_kazakh(shared_data: Path) -> None:
    lines = (shared_data / "kaznerd_kk" / "sentences.jsonl").read_text(encoding="utf-8").splitlines()[:2000]
    guesses = [detect(json.loads(line)["text"]).language for line in lines]
    assert guesses.count("kk") + guesses.count("mixed") >= 0.95 * len(guesses)


def test_real_russian_is_taken_for_russian(shared_data: Path) -> None:
    lines = (shared_data / "telegram_news_ru" / "messages.jsonl").read_text(encoding="utf-8").splitlines()[:2000]
    guesses = [detect(json.loads(line)["text"]).language for line in lines]
    assert guesses.count("ru") >= 0.98 * len(guesses)
