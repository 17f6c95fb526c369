from __future__ import annotations

import pytest

from narratives.report.bursts import find_bursts


def test_a_planted_burst_is_found_where_it_stands() -> None:
    relevant = [1, 0, 1, 1, 0, 8, 9, 7, 1, 0, 1, 0]
    [burst] = find_bursts(relevant, [20] * 12)
    assert (burst.start, burst.stop, burst.n_relevant, burst.n_posts) == (5, 8, 24, 60)
    assert burst.weight > 0


def test_a_busy_day_of_the_whole_dump_is_no_burst() -> None:
    assert find_bursts([2, 2, 2, 20, 2, 2], [20, 20, 20, 200, 20, 20]) == []


def test_a_single_post_is_no_burst() -> None:
    assert find_bursts([0, 0, 1, 0, 0, 0, 0, 1, 0, 0], [5] * 10) == []


def test_a_burst_may_reach_the_last_bin() -> None:
    [burst] = find_bursts([0, 1, 0, 0, 1, 0, 6, 7], [10] * 8)
    assert (burst.start, burst.stop) == (6, 8)


def test_nothing_and_everything_have_no_bursts() -> None:
    assert find_bursts([], []) == []
    assert find_bursts([0, 0], [5, 5]) == []
    assert find_bursts([5, 5], [5, 5]) == []


def test_more_relevant_posts_than_posts_are_refused() -> None:
    with pytest.raises(ValueError, match="no more relevant posts than that"):
        find_bursts([3], [2])
