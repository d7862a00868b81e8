from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.recipes import RecipeError, load_recipe, resolve_dates, resolve_split
from pipeline.recipes.date_offsets import DateOffset, resolve_bound
from stores.times import Step, parse_time
from tests.make import make_recipe

MOVING = {"train": ["2000-01", "-3 years"], "validation": ["-34 months", "-2 years"]}
MOVING |= {"test": ["-22 months", "newest"]}


@pytest.mark.parametrize(
    ("bound", "newest", "step", "date"),
    [
        ("2003-01", "2018-12", "month", "2003-01"),
        ("newest", "2018-12", "month", "2018-12"),
        ("-0 steps", "2018-12", "month", "2018-12"),
        ("-1 step", "2018-12", "month", "2018-11"),
        ("-4 years", "2018-12", "month", "2014-12"),
        ("-18 months", "2018-12", "month", "2017-06"),
        ("-30 days", "2018-12", "month", "2018-11"),
        ("-4 years", "2018", "5 years", "2013"),
        ("-1 month", "2020-03-31", "day", "2020-02-29"),
        ("-30 days", "2020-03-31", "day", "2020-03-01"),
        ("-1 year", "2020-02-29", "day", "2019-02-28"),
        ("-18 hours", "2020-03-31T12", "12 hours", "2020-03-30T12"),
    ],
)
def test_an_offset_is_the_last_frame_that_is_no_later(
    bound: str, newest: str, step: str, date: str
) -> None:
    assert resolve_bound(bound, parse_time(newest), Step.parse(step)) == date


@given(
    st.integers(0, 400),
    st.sampled_from(["minute", "hour", "day", "month", "year"]),
    st.sampled_from(["month", "3 months", "year", "day", "5 days", "6 hours"]),
)
def test_offsets_fall_on_the_series_and_the_next_frame_is_later(
    count: int, unit: str, step: str
) -> None:
    newest, every = parse_time("2019-08-31T18").astype("datetime64[s]"), Step.parse(step)
    newest = every.floor(newest)
    offset = DateOffset(count, unit)
    found = offset.resolve(newest, every)
    n_back = every.steps_between(found, newest)
    assert every.add(newest, -n_back) == found
    assert found <= offset._back(newest) < every.add(newest, 1 - n_back)


def test_the_fingerprint_is_that_of_the_text_and_the_dates_are_checked(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    recipe = load_recipe(make_recipe(tmp_path, split=MOVING))
    one, other = (resolve_dates(recipe, parse_time(date)) for date in ("2007-12", "2008-05"))
    assert one.split.train == ("2000-01", "2004-12")
    assert other.split.train == ("2000-01", "2005-05")
    assert one.split.unresolved == other.split.unresolved == recipe.split
    assert one.fingerprint() == other.fingerprint() == recipe.fingerprint()
    fixed = load_recipe(make_recipe(tmp_path))
    assert fixed.split.train == one.split.train
    assert fixed.fingerprint() != one.fingerprint()
    assert resolve_split(fixed.split, fixed.step, parse_time("2008-05")) == fixed.split
    with pytest.raises(RecipeError, match=r"newest frame 2003-06:\n.*split.train holds 6"):
        resolve_dates(recipe.replace(rollout={"history": 9, "leads": 4}), parse_time("2003-06"))


@pytest.mark.parametrize("bound", ["-4 yeers", "+3 months", "4 years ago", "newest-1"])
def test_a_bound_that_is_neither_date_nor_offset_is_refused_with_examples(
    tmp_path: Path, bound: str
) -> None:
    (tmp_path / "archive").mkdir()
    with pytest.raises(RecipeError, match=r"is not a date.* such as '-4 years'.*'newest'"):
        load_recipe(make_recipe(tmp_path, split={"train": ["2000-01", bound]}))
