from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from narratives.errors import ConfigError
from narratives.report.dump import collect
from narratives.report.periods import Period, compare, parse_periods
from tests.report.conftest import Write, at, said


def test_periods_are_whole_days_with_both_ends() -> None:
    first, second = parse_periods("2023-10-09..2023-10-10, 2023-10-11")
    assert (first, second) == (Period(date(2023, 10, 9), date(2023, 10, 10)), Period(date(2023, 10, 11), date(2023, 10, 11)))
    assert first.holds(datetime(2023, 10, 10, 23, 59, 59, tzinfo=UTC))
    assert not first.holds(datetime(2023, 10, 11, tzinfo=UTC))
    assert (str(first), str(second)) == ("2023-10-09 to 2023-10-10", "2023-10-11")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2023-10-09", r"found 1 period\(s\), expected two with a comma between"),
        ("вчера,2023-10-09", "'вчера' is no period; expected two like 2023-10-06..2023-10-08,2023-10-09..2023-10-11"),
        ("2023-13-09,2023-10-09", "'2023-13-09' is no period"),
        ("2023-10-09..2023-10-08,2023-10-09", "ends before it starts"),
    ],
)
def test_periods_that_are_none_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_periods(text)


def test_a_clear_rise_is_clear_and_a_small_one_is_not(write: Write) -> None:
    posts = [said(f"пост {i}", "a", at(i * 0.1), *(("rain",) if i < 2 else ()), *(("snow",) if i < 20 else ())) for i in range(100)]
    posts += [said(f"день {i}", "a", at(24 + i * 0.1), *(("rain",) if i < 30 else ()), *(("snow",) if i < 23 else ())) for i in range(100)]
    result = compare(collect(write(posts)), *parse_periods("2023-10-09,2023-10-10"), ("rain", "snow"))
    assert (result.n_posts_before, result.n_posts_after) == (100, 100)
    rain, snow = result.changes
    assert (rain.n_before, rain.n_after, rain.is_clear) == (2, 30, True)
    assert rain.difference.value == pytest.approx(0.28)
    assert (snow.n_before, snow.n_after, snow.is_clear) == (20, 23, False)
    assert (rain.views_before.total, rain.views_after.total) == (200, 3000)
