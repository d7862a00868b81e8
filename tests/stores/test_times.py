from __future__ import annotations

import re
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.times import Step, Time, format_dates, parse_end, parse_time

steps = st.builds(
    Step,
    st.integers(1, 12),
    st.sampled_from(["second", "minute", "hour", "day", "month", "year"]),
)
dates = st.datetimes(max_value=datetime(9000, 1, 1)).map(
    lambda date: np.datetime64(date.replace(microsecond=0), "s")
)


@given(steps, dates, st.integers(0, 60))
def test_adding_and_counting_steps_undo_each_other(step: Step, date: Time, n: int) -> None:
    start = step.floor(date)
    assert step.steps_between(start, step.add(start, n)) == n
    assert step.add(step.add(start, n), -n) == start


@given(steps, dates, st.integers(0, 60))
def test_a_range_holds_both_ends_and_every_step_between(step: Step, date: Time, n: int) -> None:
    start = step.floor(date)
    times = step.range(start, step.add(start, n))
    assert len(times) == n + 1
    assert [step.steps_between(start, time) for time in times] == list(range(n + 1))


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


@given(steps, dates)
def test_a_label_is_read_back_and_names_no_folder(step: Step, date: Time) -> None:
    start = step.floor(date)
    assert parse_time(step.label(start)) == start
    assert re.fullmatch(r"[0-9T-]+", step.label(start))


@pytest.mark.parametrize(
    ("step", "label", "shown"),
    [
        ("5 years", "2015", "2015"),
        ("month", "2017-05", "2017-05"),
        ("8 days", "2017-05-09", "2017-05-09"),
        ("12 hours", "20170509T12", "2017-05-09 12:00"),
        ("5 minutes", "20170509T1245", "2017-05-09 12:45"),
        ("30 seconds", "20170509T124530", "2017-05-09 12:45:30"),
    ],
)
def test_people_read_dates_where_files_bear_labels(step: str, label: str, shown: str) -> None:
    every = Step.parse(step)
    time = parse_time(label)
    assert (every.label(time), every.format(time)) == (label, shown)
    assert format_dates(f"from {label}.") == f"from {shown}."


@given(steps, dates)
def test_what_people_read_is_understood_when_they_write_it(step: Step, date: Time) -> None:
    start = step.floor(date)
    assert parse_time(step.format(start)) == start


@given(steps, dates)
def test_labels_stand_in_the_order_of_their_dates(step: Step, date: Time) -> None:
    start = step.floor(date)
    assert step.label(start) < step.label(step.add(start, 1))


@given(dates)
def test_every_iso_spelling_of_a_time_is_read(date: Time) -> None:
    written = str(date)
    spellings = [written, written.replace("T", " "), f"{written}Z", re.sub("[-:]", "", written)]
    assert [parse_time(text) for text in spellings] == [date] * 4


def test_digits_alone_are_a_date_and_no_year_of_eight_digits() -> None:
    assert parse_time("20190610") == parse_time("2019-06-10")
    assert parse_time("201906") == parse_time("2019-06")


@given(steps, dates, dates, st.integers(0, 60))
def test_a_range_of_a_series_holds_its_frames_alone(
    step: Step, first: Time, start: Time, n: int
) -> None:
    found = step.of_series(first).range(start, step.add(start, n))
    assert len(found) in (n, n + 1)
    assert (found >= step.floor(start)).all()
    assert all(step.steps_between(step.floor(first), time) is not None for time in found)


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("week", Step(7, "day")),
        ("2 weeks", Step(14, "day")),
        ("quarter", Step(3, "month")),
        ("30 seconds", Step(30, "second")),
    ],
)
def test_steps_that_users_expect_are_understood(text: str, step: Step) -> None:
    assert Step.parse(text) == step


def test_a_distance_between_two_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="1987 is not a whole number of steps of 5 years"):
        Step.parse("5 years").steps_between(parse_time("1985"), parse_time("1987"))


@pytest.mark.parametrize("text", ["fortnight", "0 months", "", "1.5 days", "-1 month"])
def test_what_is_no_calendar_step_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a calendar step"):
        Step.parse(text)


@pytest.mark.parametrize(
    "text", ["2017-13", "yesterday", "", "NaT", "0000", "20191", "2019-06-31", "2019-06-10T25"]
)
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a date"):
        parse_time(text)


@given(steps, dates)
def test_an_end_holds_all_that_its_label_names_and_no_more(step: Step, date: Time) -> None:
    unit = Step(1, step.unit)
    end = parse_end(unit.label(date))
    assert unit.floor(end) == unit.floor(date)
    assert unit.floor(end + np.timedelta64(1, "s")) == unit.add(unit.floor(date), 1)


def test_a_stretch_of_one_frame_is_named_once_and_a_distance_with_its_number() -> None:
    months = Step.parse("month")
    epochs = Step.parse("5 years")
    first = parse_time("2015")
    last = parse_time("2020")
    assert epochs.label_range(last, last) == "2020"
    assert months.label_range(first, last) == "2015-01 to 2020-01"
    assert (months.phrase, epochs.phrase) == ("one month", "5 years")


@pytest.mark.parametrize(
    "text", ["100000 days", f"{10**400} years", " " * 5000 + "x", "0 days"]
)
def test_a_step_of_too_many_units_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is not a calendar step"):
        Step.parse(text)


def test_a_series_is_counted_before_it_is_listed() -> None:
    minute = Step.parse("minute")
    with pytest.raises(
        ValueError, match=r"to 9999-12-31 23:59 are 5258964960 frames, one every"
    ):
        minute.range(parse_time("0001"), parse_time("9999-12-31T23:59"))
