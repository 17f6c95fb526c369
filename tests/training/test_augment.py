"""Other versions of a training post keep its meaning, or say which stance it has become."""

import random

import pytest

from narratives.training.augment import augment, change_stance

RUSSIAN = "В Алматы открыли базу НАТО, и молчат!"
KAZAKH = "Алматыда НАТО базасы ашылды, бәрі үнсіз!"


@pytest.mark.parametrize(("text", "language"), [(RUSSIAN, "ru"), (KAZAKH, "kk"), ("", "ru"), ("😂", None)])
def test_every_way_of_respelling_gives_a_text(text: str, language: str | None) -> None:
    rng = random.Random(1)
    versions = {augment(text, language, rng) for _ in range(200)} if text else {text}
    assert all(isinstance(version, str) for version in versions)
    assert not text or text == "😂" or len(versions) > 4


def test_an_undeclined_town_becomes_another_one() -> None:
    rng = random.Random(2)
    versions = {augment("Алматы, дождь", "ru", rng) for _ in range(300)}
    assert any("Шымкент, дождь" in v for v in versions)
    assert not any("Павлодаре" in augment("Павлодаре", "ru", rng) and "Костанайе" in v for v in versions)


def test_an_answered_endorsement_refutes_and_a_quoted_one_reports() -> None:
    rng = random.Random(3)
    versions = [change_stance(RUSSIAN, "ru", rng) for _ in range(200)] + [change_stance(KAZAKH, "kk", rng) for _ in range(200)]
    assert {stance for _, stance in versions} == {"refutes", "reports"}
    for text, stance in versions:
        assert RUSSIAN in text or KAZAKH in text
        assert ("«" in text) >= (stance == "reports")


def test_the_answers_of_training_are_not_those_of_the_behaviour_test() -> None:
    from benchmarks.behaviour import debunked
    from narratives.records import Post
    from narratives.training import augment as module

    for language, answers in (("ru", module._ANSWERS_RU), ("kk", module._ANSWERS_KK)):
        changed = debunked(Post(text="X", language=language))
        assert not any(answer in changed for answer in answers)
