from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.seasons import CalendarCycle, Seasons, has_period, shift_to_observed
from stores.times import Step, Times, parse_time

MONTH = Step.parse("month")
DAY = Step.parse("day")
steps = st.builds(
    Step,
    st.integers(1, 400),
    st.sampled_from(["second", "minute", "hour", "day", "month", "year"]),
)
starts = st.dates().map(lambda date: np.datetime64(date, "s"))


def frames(step: str, start: str, n: int) -> Times:
    every = Step.parse(step)
    first = parse_time(start)
    return np.array([every.add(first, index) for index in range(n)])


def seasons_of(step: str, start: str, n: int) -> Seasons:
    return Seasons.of(Step.parse(step), frames(step, start, n))


def test_months_of_two_years_are_twelve_seasons_and_the_first_is_january() -> None:
    seasons = seasons_of("month", "2003-11", 24)
    assert seasons.season_numbers == tuple(range(12))
    assert seasons.index(frames("month", "2003-11", 4)).tolist() == [10, 11, 0, 1]


@pytest.mark.parametrize(
    ("step", "start", "n", "n_seasons"),
    [
        ("month", "2003-11", 23, 1),  # a month seen once is that month's weather
        ("quarter", "2003-02", 8, 4),
        ("5 months", "2003-02", 24, 12),
        ("5 months", "2003-02", 23, 1),
        ("day", "2001-01-01", 730, 365),
        ("day", "2001-01-01", 729, 1),
        ("8 days", "2001-01-03", 92, 46),
        ("week", "2001-01-03", 104, 52),
        ("hour", "2001-01-03", 48, 24),
        ("hour", "2001-01-03", 47, 1),
        ("12 hours", "2001-01-03T06", 700, 2),
        ("12 hours", "2001-01-03T06", 2 * 730, 24),
        ("36 hours", "2001-01-03", 4, 2),
        ("24 hours", "2001-01-03T06", 730, 365),
        ("5 minutes", "2017-05-09T10:45", 8, 1),
        ("30 seconds", "2017-05-09", 2 * 2880, 2880),
        ("5 years", "1958", 40, 1),
        ("400 days", "1958-01-01", 40, 1),
    ],
)
def test_a_cycle_is_told_apart_when_it_was_seen_twice(
    step: str, start: str, n: int, n_seasons: int
) -> None:
    assert len(seasons_of(step, start, n)) == n_seasons


@given(steps, starts, st.integers(1, 60), st.integers(0, 400))
def test_every_training_frame_has_its_own_season_and_any_frame_some(
    step: Step, start: np.datetime64, n: int, later: int
) -> None:
    times = np.array([step.add(start, index) for index in range(n)])
    seasons = Seasons.of(step, times)
    assert (
        np.array(seasons.season_numbers)[seasons.index(times)] == seasons.numbers(times)
    ).all()
    assert seasons.n_unseen(times) == 0
    assert set(seasons.index(times).tolist()) == set(range(len(seasons)))
    beyond = np.array([step.add(start, n + later)])
    assert 0 <= seasons.index(beyond)[0] < len(seasons)
    assert sorted(np.concatenate([indices for indices, _ in seasons.by_time_of_day()])) == list(
        range(len(seasons))
    )


def test_a_season_that_is_not_held_takes_the_nearest_of_its_time_of_day() -> None:
    half_days = Step.parse("12 hours")
    seasons = Seasons(half_days, 12, 2, (0, 1, 2 * 2, 3 * 2 + 1))  # Jan 0 and 12, Mar 0, Apr 12
    labels = ["2001-12-05", "2001-02-05T12", "2001-03-05T12", "2001-06-01T00", "2001-07-01T12"]
    times = np.array([parse_time(text) for text in labels])
    assert seasons.index(times).tolist() == [0, 1, 3, 2, 3]
    assert seasons.n_unseen(times) == 5
    none_at_noon = Seasons(half_days, 12, 2, (0, 2 * 2))
    assert none_at_noon.index(times[2:3]).tolist() == [1]


def test_the_hour_is_part_of_a_season() -> None:
    seasons = seasons_of("12 hours", "2001-01-01", 8)
    assert seasons.index(frames("12 hours", "2001-01-03", 4)).tolist() == [0, 1, 0, 1]


def test_no_season_is_as_short_as_a_day_of_leap_years() -> None:
    clock = CalendarCycle.of(DAY)
    times = DAY.range(parse_time("2004-12-29"), parse_time("2005-01-01"))
    assert clock.time_of_year(times).tolist() == [363, 364, 364, 0]


@pytest.mark.parametrize(
    ("step", "time", "init", "before"),
    [
        ("month", "2006-03", "2005-12", "2005-03"),
        ("month", "2007-03", "2005-12", "2005-03"),
        ("day", "2004-02-29", "2004-02-20", "2003-03-01"),
        ("8 days", "2010-01-09", "2010-01-01", "2009-01-06"),  # 361 days, not 369
        ("12 hours", "2010-01-02T12", "2010-01-01T12", "2010-01-01T12"),
        ("12 hours", "2010-01-03T00", "2010-01-01T12", "2010-01-01T00"),
        ("36 hours", "2010-01-03T00", "2010-01-01T12", "2009-12-31T00"),
        ("5 minutes", "2010-01-03T00:05", "2010-01-03T00:00", "2010-01-02T00:05"),
    ],
)
def test_the_last_observed_frame_of_a_season_lies_whole_periods_before(
    step: str, time: str, init: str, before: str
) -> None:
    every = Step.parse(step)
    assert shift_to_observed(every, parse_time(time), parse_time(init)) == parse_time(before)


@pytest.mark.parametrize(
    ("step", "expected"),
    [("month", True), ("minute", True), ("12 months", False), ("year", False)],
)
def test_only_steps_shorter_than_a_year_have_a_period(step: str, *, expected: bool) -> None:
    assert has_period(Step.parse(step)) is expected


def test_seasons_say_what_they_tell_apart() -> None:
    assert str(seasons_of("month", "2001-01", 24)) == "12 seasons (12 times of year)"
    assert str(seasons_of("12 hours", "2001-01-01", 4)) == "2 seasons (2 times of day)"
    assert str(seasons_of("month", "2001-01", 12)) == "one season"
