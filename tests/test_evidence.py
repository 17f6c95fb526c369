import numpy as np

from narratives import evidence


def test_questions_are_each_sentence_alone_then_the_post_without_it() -> None:
    text = "Раз. Два. Три."
    spans = evidence.candidate_spans(text)
    assert evidence.questions(text, spans) == ["Раз.", "Два.", "Три.", "Два. Три.", "Раз. Три.", "Раз. Два."]


def test_the_sentence_that_alone_carries_the_label_weighs_most() -> None:
    whole = np.array([0.9], dtype=np.float32)
    answers = np.array([[0.1], [0.9], [0.2], [0.9], [0.2], [0.9]], dtype=np.float32)
    weights = evidence.weigh(whole, answers)
    assert weights.shape == (3, 1)
    assert weights[:, 0].argmax() == 1
    assert abs(float(weights[:, 0].sum()) - 1) < 1e-5
    assert evidence.choose(weights, 0) == [(1, float(weights[1, 0]))]


def test_nothing_speaks_for_a_label_that_is_not_there() -> None:
    weights = evidence.weigh(np.zeros(1, dtype=np.float32), np.zeros((4, 1), dtype=np.float32))
    assert weights.tolist() == [[0.0], [0.0]]


def test_a_long_posts_sentences_are_joined_so_that_cost_is_bounded() -> None:
    text = "Одно короткое слово тут. " * 200
    spans = evidence.candidate_spans(text)
    assert len(spans) <= evidence.MAX_SENTENCES
    assert spans[0][0] == 0
    assert text[spans[-1][0] : spans[-1][1]].endswith("тут.")
