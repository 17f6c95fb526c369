"""Copies are found, look-alikes are not, and the first text names its cluster."""

from __future__ import annotations

import random

import pytest

from narratives import clusters
from narratives.errors import ConfigError

STORY = (
    "В порту открыли учебный центр, и теперь там собираются готовить офицеров из разных стран региона. "
    "Представители министерства на церемонии подчеркнули, что центр работает уже десять лет, а новый зал построен на деньги бюджета."
)
KAZAKH = (
    "Порт маңындағы оқу орталығында жаңа конференц-зал ашылды, оған министрлік өкілдері мен шетелдік қонақтар қатысты. "
    "Орталық он жылдан бері бітімгершілерді дайындап келеді, зал республикалық бюджет есебінен салынған."
)


def test_equal_texts_share_the_index_of_the_first() -> None:
    assert clusters.assign([STORY, KAZAKH, STORY, KAZAKH]) == [0, 1, 0, 1]


def test_cleaning_sees_through_formatting_links_and_look_alike_letters() -> None:
    disguised = STORY.replace("центр,", "**цeнтр**,").replace("порту", "по\u200bрту") + "\n"
    assert "цeнтр" in disguised  # with a Latin e
    assert clusters.assign([STORY, disguised]) == [0, 0]
    assert clusters.assign(["Читать дальше https://t.me/a/1", "Читать дальше https://t.me/b/2"]) == [0, 0]


def test_an_edited_copy_joins_and_another_story_does_not() -> None:
    edited = STORY.replace("собираются", "планируют")
    other = (
        STORY.replace("учебный центр", "рыбный рынок").replace("готовить офицеров", "продавать рыбу").replace("центр работает", "он стоит")
    )
    other = other.replace("новый зал построен на деньги бюджета", "крышу чинили летом соседи по кварталу")
    assert clusters.assign([KAZAKH, STORY, edited, other]) == [0, 1, 1, 3]


def test_a_chain_of_edits_is_one_cluster_named_after_its_first_text() -> None:
    words = STORY.split()
    chain = [words]
    for step in range(1, 5):
        changed = list(chain[-1])
        changed[step * 4] = f"слово{step}"
        chain.append(changed)
    texts = [" ".join(c) for c in chain]
    assert clusters._jaccard(*(_pairs(t) for t in (texts[0], texts[-1]))) < 0.8
    assert clusters.assign(list(reversed(texts))) == [0] * 5


def test_short_texts_are_copies_only_where_equal() -> None:
    assert clusters.assign(["Доброе утро, дорогие друзья мои!", "Доброе утро, дорогие друзья мои", "Доброе утро, дорогие друзья мои!"]) == [
        0,
        1,
        0,
    ]


def test_texts_without_words_are_nobodys_copies() -> None:
    assert clusters.assign(["", "  ", "", "\u200b"]) == [0, 1, 2, 3]
    assert clusters.assign([]) == []


def test_threshold_one_joins_equal_texts_only() -> None:
    assert clusters.assign([STORY, STORY.replace("десять", "девять"), STORY], threshold=1) == [0, 1, 0]


@pytest.mark.parametrize("threshold", [0, -0.1, 1.01])
def test_a_threshold_out_of_range_is_refused(threshold: float) -> None:
    with pytest.raises(ConfigError, match=rf"threshold is {threshold}; expected a number above 0 and up to 1"):
        clusters.assign([STORY], threshold=threshold)


def _pairs(text: str) -> clusters.UIntArray:
    distinct = clusters._Distinct()
    distinct.add(0, clusters._WORD.findall(text.casefold()))
    return distinct[0]


def planted(n_stories: int, *, seed: int = 7) -> tuple[list[str], list[int]]:
    """Random stories, each with up to four copies in which one word in thirty is replaced, shuffled; and their true clusters."""
    rng = random.Random(seed)
    vocabulary = [f"сөз{i}" for i in range(20_000)]
    rows: list[tuple[str, int]] = []
    for story in range(n_stories):
        words = rng.choices(vocabulary, k=rng.randint(30, 90))
        rows.append((" ".join(words), story))
        for _ in range(rng.randint(0, 4)):
            copy = list(words)
            for at in rng.sample(range(len(copy)), len(copy) // 30):
                copy[at] = rng.choice(vocabulary)
            rows.append((" ".join(copy), story))
    rng.shuffle(rows)
    first: dict[int, int] = {}
    truth = [first.setdefault(story, index) for index, (_, story) in enumerate(rows)]
    return [text for text, _ in rows], truth


def test_planted_clusters_are_found_exactly() -> None:
    texts, truth = planted(1500)
    assert clusters.assign(texts) == truth


def test_a_footer_that_thousands_share_joins_nothing() -> None:
    rng = random.Random(3)
    footer = "подписывайтесь на наш канал чтобы не пропустить главные новости дня и делитесь ими с друзьями"
    texts = [" ".join(f"{rng.randrange(10**6)}ж" for _ in range(25)) + " " + footer for _ in range(3000)]
    assert clusters.assign(texts) == list(range(3000))
