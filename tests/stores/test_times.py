from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.times import Step, Time, parse_time

steps = st.builds(
    Step, st.integers(1, 12), st.sampled_from(["minute", "hour", "day", "month", "year"])
)
dates = st.datetimes(
    min_value=np.datetime64("1900-01-01").astype("datetime64[s]").item(),
    max_value=np.datetime64("2100-01-01").astype("datetime64[s]").item(),
).map(lambda date: np.datetime64(date.replace(microsecond=0), "s"))


@given(steps, dates, st.integers(0, 60))
def test_adding_and_counting_steps_undo_each_other(step: Step, date: Time, n: int) -> None:
    start = step.floor(date)
    assert step.between(start, step.add(start, n)) == n
    assert step.add(step.add(start, n), -n) == start


@given(steps, dates, st.integers(0, 60))
def test_a_range_holds_both_ends_and_every_step_between(step: Step, date: Time, n: int) -> None:
    start = step.floor(date)
    times = step.range(start, step.add(start, n))
    assert len(times) == n + 1
    assert [step.between(start, time) for time in times] == list(range(n + 1))


@given(steps, dates, st.integers(0, 60))
def test_encoded_times_decode_to_themselves(step: Step, date: Time, n: int) -> None:
    start = step.floor(date)
    times = step.range(start, step.add(start, n))
    assert (step.decode(step.encode(times)) == times).all()
    assert len(np.unique(step.encode(times))) == len(times)


@given(steps, dates)
def test_floor_is_a_start_of_its_unit_at_or_before_the_time(step: Step, date: Time) -> None:
    start = step.floor(date)
    assert start <= date < step.add(start, step.count)
    assert step.floor(start) == start


@given(steps)
def test_a_step_is_read_from_what_it_writes(step: Step) -> None:
    assert Step.parse(str(step)) == step


def test_months_are_counted_and_not_added_up_from_days() -> None:
    month = Step.parse("month")
    assert str(month.add(parse_time("2004-01-31"), 1))[:10] == "2004-02-01"
    assert month.label(month.add(parse_time("2003-12"), 2)) == "2004-02"
    assert month.season(month.range(parse_time("2003-11"), parse_time("2004-02"))).tolist() == [
        10,
        11,
        0,
        1,
    ]


def test_a_leap_day_has_its_own_season() -> None:
    day = Step.parse("day")
    times = day.range(parse_time("2004-02-28"), parse_time("2004-03-01"))
    assert day.season(times).tolist() == [58, 59, 60]
    assert day.n_seasons == 366


def test_a_distance_between_two_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="1987 is not a whole number of steps of 5 years"):
        Step.parse("5 years").between(parse_time("1985"), parse_time("1987"))


@pytest.mark.parametrize("text", ["fortnight", "0 months", "", "1.5 days", "-1 month"])
def test_what_is_no_calendar_step_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a calendar step"):
        Step.parse(text)


@pytest.mark.parametrize("text", ["2017-13", "yesterday", "", "NaT"])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a date"):
        parse_time(text)
