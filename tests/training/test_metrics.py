import numpy as np
import pytest
from sklearn import metrics as sk

from narratives.errors import ConfigError
from narratives.training.calibration import choose_thresholds, fit_calibration, high_precision_thresholds, high_recall_thresholds
from narratives.training.metrics import (
    average_precision,
    calibration_error,
    macro_f1,
    macro_f1_difference,
    wilson,
)

RNG = np.random.default_rng(5)
TARGETS = RNG.random((200, 4)) < 0.3
NOISY = np.clip(TARGETS * 0.5 + RNG.random((200, 4)) * 0.6, 0, 1).astype(np.float32)
GROUPS = [f"g{i // 4}" for i in range(200)]


def test_macro_f1_equals_scikit_learns() -> None:
    figure = macro_f1(TARGETS, NOISY > 0.5, GROUPS)
    assert figure.value == pytest.approx(sk.f1_score(TARGETS, NOISY > 0.5, average="macro"))
    assert figure.low < figure.value < figure.high


def test_average_precision_equals_scikit_learns() -> None:
    assert average_precision(TARGETS[:, 0], NOISY[:, 0]) == pytest.approx(sk.average_precision_score(TARGETS[:, 0], NOISY[:, 0]))


def test_a_label_without_a_positive_post_is_left_out_of_the_mean() -> None:
    targets = TARGETS.copy()
    targets[:, 3] = False
    assert macro_f1(targets, TARGETS, GROUPS).value == pytest.approx(1.0)


def test_intervals_of_dependent_posts_are_wider() -> None:
    repeated = np.repeat(TARGETS[:50], 4, axis=0)
    predicted = np.repeat(NOISY[:50] > 0.5, 4, axis=0)
    alone = macro_f1(repeated, predicted, [str(i) for i in range(200)])
    grouped = macro_f1(repeated, predicted, [str(i // 4) for i in range(200)])
    assert grouped.high - grouped.low > 1.4 * (alone.high - alone.low)


def test_the_difference_of_a_model_to_itself_is_nothing() -> None:
    figure = macro_f1_difference(TARGETS, NOISY > 0.5, NOISY > 0.5, GROUPS)
    assert (figure.value, figure.low, figure.high) == (0, 0, 0)


def test_a_better_model_is_ahead_with_an_interval_above_nothing() -> None:
    assert macro_f1_difference(TARGETS, TARGETS, NOISY > 0.5, GROUPS).low > 0


def test_calibration_error_of_exact_and_of_wrong_probabilities() -> None:
    p = RNG.random(20_000).astype(np.float32)
    truth = RNG.random(20_000) < p
    assert calibration_error(truth, p) < 0.02
    assert calibration_error(~truth, p) > 0.2


def test_the_threshold_of_best_f1_lies_in_the_gap() -> None:
    targets = np.array([[True]] * 6 + [[False]] * 6)
    probabilities = np.array([[0.9]] * 6 + [[0.3]] * 6, dtype=np.float32)
    assert choose_thresholds(probabilities, targets)[0] == pytest.approx(0.6)


def test_a_label_without_posts_gets_the_threshold_of_all_labels() -> None:
    targets = np.array([[True, False]] * 6 + [[False, False]] * 6)
    probabilities = np.array([[0.9, 0.2]] * 6 + [[0.3, 0.1]] * 6, dtype=np.float32)
    first, second = choose_thresholds(probabilities, targets)
    assert first == second == pytest.approx(0.6)


def test_few_posts_of_a_label_do_not_outvote_all_others() -> None:
    """One positive at 0.95 would put a label's own threshold above 0.6; twenty others say 0.5."""
    targets = np.zeros((60, 3), dtype=bool)
    targets[:20, 0] = targets[20:40, 1] = targets[40, 2] = True
    probabilities = np.where(targets, 0.7, 0.3).astype(np.float32)
    probabilities[40, 2], probabilities[41, 2] = 0.95, 0.6
    assert choose_thresholds(probabilities, targets)[2] < 0.7


def test_posts_that_weigh_more_raise_the_threshold_above_their_false_alarms() -> None:
    probabilities = np.array([[0.9], [0.8], [0.6], [0.5], [0.55], [0.3]], dtype=np.float32)
    targets = np.array([[True], [True], [True], [True], [False], [False]])
    light = choose_thresholds(probabilities, targets)
    heavy = choose_thresholds(probabilities, targets, weights=np.array([1, 1, 1, 1, 20, 20], dtype=np.float32))
    assert light[0] < 0.5 < 0.55 < heavy[0] < 0.6


def test_nothing_to_tune_on_keeps_one_half() -> None:
    assert choose_thresholds(RNG.random((12, 2)).astype(np.float32), np.zeros((12, 2), dtype=bool)).tolist() == [0.5, 0.5]


def test_thresholds_are_better_than_one_half() -> None:
    thresholds = choose_thresholds(NOISY, TARGETS)
    assert sk.f1_score(TARGETS, thresholds <= NOISY, average="macro") > sk.f1_score(TARGETS, NOISY >= 0.5, average="macro")


def test_shapes_must_fit() -> None:
    with pytest.raises(ConfigError, match=r"probabilities \(3, 2\) and targets \(200, 4\) differ in shape"):
        choose_thresholds(np.zeros((3, 2), dtype=np.float32), TARGETS)


def test_calibration_mends_logits_that_are_too_sure() -> None:
    truth = RNG.random((4000, 1)) < 0.3
    logits = (3.0 * (truth * 1.2 + RNG.normal(size=(4000, 1)))).astype(np.float32)
    stances = np.full(4000, -1)
    calibration = fit_calibration(logits, truth, np.zeros((4000, 3), dtype=np.float32), stances)
    before = 1 / (1 + np.exp(-logits[:, 0]))
    after = calibration.probabilities(logits)[:, 0]
    assert calibration_error(truth[:, 0], after) < 0.5 * calibration_error(truth[:, 0], before.astype(np.float32))


def test_high_recall_keeps_its_promise_in_nine_of_ten_draws() -> None:
    """Probabilities of 60 positive posts, drawn 400 times: the true recall at the chosen threshold is below 0.95 in a tenth at most."""
    rng = np.random.default_rng(5)
    targets = np.ones((60, 1), dtype=bool)
    broken = 0
    for _ in range(400):
        thresholds, own = high_recall_thresholds(rng.random((60, 1)).astype(np.float32), targets)
        assert own == (True,)
        broken += thresholds[0] > 0.05  # of uniform probabilities, a threshold t misses the share t
    assert broken / 400 <= 0.13  # 0.10 and three standard errors of 400 draws


def test_labels_with_few_posts_share_one_threshold_and_are_promised_nothing_alone() -> None:
    rng = np.random.default_rng(6)
    probabilities = rng.random((80, 3)).astype(np.float32)
    targets = np.zeros((80, 3), dtype=bool)
    targets[:60, 0] = targets[60:70, 1] = targets[70:, 2] = True
    thresholds, own = high_recall_thresholds(probabilities, targets)
    assert own == (True, False, False)
    assert thresholds[1] == thresholds[2]


def test_high_precision_cuts_off_what_is_mostly_wrong() -> None:
    probabilities = np.concatenate([np.linspace(0.7, 0.95, 40), np.linspace(0.1, 0.6, 40)])[:, None].astype(np.float32)
    targets = np.zeros((80, 1), dtype=bool)
    targets[:40] = True
    assert 0.5 < high_precision_thresholds(probabilities, targets)[0] <= 0.71
    assert high_precision_thresholds(probabilities[::-1], targets)[0] > 0.9  # nothing is precise: only the most probable post stays


def test_the_interval_of_a_share_stays_between_0_and_1() -> None:
    ends = [end for n in range(1, 2000) for hits in (0, n) for end in wilson(hits, n)]
    assert min(ends) == 0 and max(ends) == 1
