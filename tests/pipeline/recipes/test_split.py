from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.recipes import RecipeError, SplitRecipe, load_recipe
from pipeline.split import PARTS
from stores.times import Step, parse_time
from tests.make import make_recipe

MONTH = Step.parse("month")
BASIN = {"basin": {"files": "basin.tif", "units": "1", "kind": "classes"}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "archive").mkdir()  # a recipe does not look into its archive
    return make_recipe(tmp_path, archive={"variables": BASIN})


def make_split(**changes: object) -> SplitRecipe:
    written: dict[str, object] = {
        "train": ("2000-01", "2004-12"),
        "validation": ("2005-02", "2005-12"),
        "test": ("2006-02", "2007-12"),
        "gap": 1,
    }
    return SplitRecipe.model_validate(written | changes)


def test_a_calibration_part_leaks_into_no_other() -> None:
    apart = make_split(validation=("2005-02", "2005-06"), calibration=("2005-08", "2005-12"))
    apart.to_split().check_leaks(MONTH)
    assert apart.parts == ("train", "validation", "test", "calibration")
    assert apart.calibration_part == "calibration"
    assert make_split().calibration_part == "validation"
    for part, leaking in (
        ("validation", ("2005-07", "2005-12")),  # no gap
        ("train", ("2004-06", "2004-12")),
        ("test", ("2007-06", "2007-12")),
    ):
        with pytest.raises(ValueError, match=f"split leaks.*{part}.*calibration"):
            apart.replace(calibration=leaking).to_split().check_leaks(MONTH)


FIVE_MONTHS = Step.parse("5 months").of_series(parse_time("2000-03"))  # 2004-10, 2005-03


def test_frames_between_two_parts_are_counted_where_they_lie() -> None:
    ends, begins = parse_time("2004-12"), parse_time("2005-02")
    assert MONTH.frames_between(ends, begins) == 1
    assert FIVE_MONTHS.frames_between(ends, begins) == 0
    assert FIVE_MONTHS.frames_between(ends, parse_time("2005-03")) == 0
    assert FIVE_MONTHS.frames_between(ends, parse_time("2005-04")) == 1
    assert FIVE_MONTHS.frames_between(parse_time("2005-04"), begins) == -1
    assert Step.parse("5 months").frames_between(ends, begins) == 1  # it may lie there
    assert Step.parse("5 months").frames_between(ends, ends) == 0


@given(st.integers(1, 12), st.integers(0, 11), st.integers(-30, 30), st.integers(0, 40))
def test_frames_between_are_those_that_neither_part_holds(
    count: int, phase: int, distance: int, gap: int
) -> None:
    step = Step(count, "month").of_series(np.datetime64("2000-01") + phase)
    last = np.datetime64("2004-06", "s")
    units = np.datetime64("2004-06", "M") + np.arange(min(0, distance), max(0, distance) + 1)
    series = [unit for unit in units if step.phase_of(unit) == step.phase]
    found = step.frames_between(last, np.datetime64("2004-06", "M") + distance)
    if distance > 0:
        assert found == sum(units[0] < unit < units[-1] for unit in series)
    else:
        assert found == -len(series)
    assert step.frames_between(last, step.behind(last, gap)) == gap
    anywhere = Step(count, "month")
    assert anywhere.frames_between(last, units[-1]) >= step.frames_between(last, units[-1])
    assert step.frames_between(last, anywhere.behind(last, gap)) >= gap


def test_parts_of_months_by_fives_leak_where_they_share_a_frame_and_nowhere_else() -> None:
    split = make_split(
        train=("2000-03", "2004-12"),
        validation=("2005-02", "2008-04"),
        test=("2008-03", "2012"),
        gap=0,
    )
    split.to_split().check_leaks(Step.parse("5 months"))
    split.to_split().check_leaks(FIVE_MONTHS)
    with pytest.raises(ValueError, match=r"2008-03, so they share frames .* begin 2008-12 or"):
        split.replace(validation=("2005-02", "2008-07")).to_split().check_leaks(FIVE_MONTHS)


def test_parts_without_their_gap_are_said_to_lack_it_and_not_to_share() -> None:
    split = make_split(validation=("2005-02", "2008-06"), test=("2009-02", "2012"))
    split.to_split().check_leaks(Step.parse("5 months"))  # one may lie between
    said = r"which leaves 0 frames between them, fewer than gap=1, .* begin 2005-08 or later"
    with pytest.raises(ValueError, match=said):
        split.to_split().check_leaks(FIVE_MONTHS)
    with_gap = split.replace(validation=("2005-08", "2008-06"))
    with_gap.to_split().check_leaks(FIVE_MONTHS)


def test_a_calibration_part_between_the_parts_of_folds_would_be_learned_from() -> None:
    between = make_split(
        train=("2000-01", "2003-12"), calibration=("2004-02", "2004-12"), folds=3
    )
    with pytest.raises(ValueError, match=r"split\.calibration=.* lies between train and"):
        between.to_split().check_leaks(MONTH)
    after = make_split(test=("2007-02", "2007-12"), calibration=("2006-02", "2006-12"), folds=3)
    after.to_split().check_leaks(MONTH)
    assert after.to_split().label("calibration", MONTH) == "2006-02 to 2006-12"


def test_a_calibration_part_is_refused_where_places_part_the_data() -> None:
    with pytest.raises(ValidationError, match=r"split\.calibration=.* with split\.place"):
        make_split(
            calibration=("2008-02", "2008-12"), place={"block_px": 20, "correlation_px": 2}
        )


def test_a_calibration_part_without_a_whole_forecast_is_refused(path: Path) -> None:
    changes = ["split.validation=[2005-02, 2005-06]", "split.calibration=[2005-08, 2005-12]"]
    with pytest.raises(RecipeError, match=r"split\.calibration holds 5 frames.* needs 7"):
        load_recipe(path, overrides=changes)
    load_recipe(path, overrides=[*changes, "rollout.leads=2"])


@given(folds=st.integers(2, 12), gap=st.integers(0, 4))
def test_every_frame_before_the_test_validates_in_one_fold(folds: int, gap: int) -> None:
    whole = make_split(gap=0).to_split().frames("train", MONTH)[0]
    found = []
    for fold in range(folds):
        split = make_split(gap=gap, test=("2006-06", "2007-12"), folds=folds, fold=fold)
        left_out, train = (
            split.to_split().frames(part, MONTH) for part in ("validation", "train")
        )
        found += left_out.tolist()
        apart = np.abs(left_out[:, None] - train[None]).min().astype("timedelta64[D]")
        assert apart.astype(int) > 28 * gap
        assert (
            split.to_split().frames("test", MONTH).tolist()
            == make_split(test=("2006-06", "2007-12")).to_split().frames("test", MONTH).tolist()
        )
    assert found == MONTH.range(whole, np.datetime64("2005-12", "s")).tolist()


def test_a_split_by_dates_alone_is_what_is_written() -> None:
    split = make_split()
    assert [
        len(split.to_split().frames(part, MONTH)) for part in ("train", "validation", "test")
    ] == [
        60,
        11,
        23,
    ]
    assert split.to_split().describe(MONTH) == ""
    assert split.to_split().label("train", MONTH) == "2000-01 to 2004-12"


def test_a_fold_says_which_frames_it_leaves_out() -> None:
    split = make_split(folds=3, fold=1)
    assert split.to_split().label("train", MONTH) == "2000-01 to 2001-11 and 2004-02 to 2005-12"
    assert split.to_split().describe(MONTH) == (
        "fold 1 of 0-2 validates (2002-01 to 2003-12), 1 frame free around it"
    )


def test_parts_apart_by_place_may_share_frames_and_those_that_do_not_keep_the_gap() -> None:
    place = {"block_px": 20, "correlation_px": 2}
    same = ("2000-01", "2005-12")
    make_split(train=same, validation=same, place=place).to_split().check_leaks(MONTH)
    with pytest.raises(ValueError, match="split leaks"):
        make_split(train=same, validation=same).to_split().check_leaks(MONTH)
    inside = make_split(train=same, validation=("2001-01", "2001-12"), place=place)
    inside.to_split().check_leaks(MONTH)
    # The test follows on train, although the part that ends before it begins later.
    with pytest.raises(ValueError, match="train ends 2005-12 and test begins 2006-01"):
        inside.replace(test=("2006-01", "2007-12")).to_split().check_leaks(MONTH)


def test_with_place_folds_are_groups_of_pixels_and_dates_stay() -> None:
    place = {"block_px": 20, "correlation_px": 2}
    split = make_split(place=place, folds=4, fold=3)
    assert len(split.to_split().frames("train", MONTH)) == 60
    assert split.to_split().describe(MONTH) == (
        "spatial split: blocks of 20 px, 2 px buffer between parts, fold 3 of 0-3 validates"
    )


def test_a_test_between_the_other_parts_cannot_be_kept_out_of_folds() -> None:
    split = make_split(test=("2005-02", "2005-12"), validation=("2006-02", "2007-12"))
    split.to_split().check_leaks(MONTH)
    with pytest.raises(ValueError, match="lies between train and validation"):
        split.replace(folds=3).to_split().check_leaks(MONTH)


def test_a_fold_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError, match="choose one from 0 to 2"):
        make_split(folds=3, fold=3)
    with pytest.raises(ValidationError, match="so it would have no effect"):
        make_split(fold=1)
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        make_split(folds=1)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("{block_px: 18, correlation_px: 2}", None),
        ("{groups: basin, correlation_px: 2}", None),
        ("{block_px: 17, correlation_px: 2}", "make blocks 18 px or wider"),
        ("{block_px: 18, correlation_px: 1}", None),
        ("{block_px: 19, correlation_px: 3}", "make blocks 20 px or wider"),
        ("{correlation_px: 2}", "write exactly one of both"),
        ("{block_px: 30, groups: basin, correlation_px: 2}", "write exactly one of both"),
        ("{block_px: 30}", "correlation_px: Field required"),
        ("{groups: rain, correlation_px: 2}", "changes with time"),
        ("{groups: elevation, correlation_px: 2}", "is of kind 'continuous'"),
        ("{groups: country, correlation_px: 2}", "archive.variables does not have"),
        ("{groups: basin, correlation_px: 2, shares: [0.5, 0.3, 0.3]}", "their sum is 1.1"),
        ("{groups: basin, correlation_px: 2, shares: [0.7, 0.3, 0.0]}", "let all be above 0"),
    ],
)
def test_a_split_by_place_is_refused_where_it_could_not_be_kept(
    path: Path, place: str, said: str | None
) -> None:
    if said is None:
        load_recipe(path, overrides=[f"split.place={place}"])
        return
    with pytest.raises(RecipeError) as refused:
        load_recipe(path, overrides=[f"split.place={place}"])
    assert said in str(refused.value)


def test_folds_too_short_for_a_sample_are_refused(path: Path) -> None:
    load_recipe(path, overrides=["split.folds=14"])
    with pytest.raises(RecipeError, match=r"holds 4 frames, .* needs 5 .* lower split\.folds"):
        load_recipe(path, overrides=["split.folds=15"])


def test_an_end_holds_the_whole_day_month_or_year_that_it_names() -> None:
    split = SplitRecipe(
        train=("2001", "2001"),
        validation=("2002-01", "2002-02"),
        test=("2002-03-01", "2002-03-02"),
    )
    last = {
        part: split.to_split()
        .frames(part, Step.parse("12 hours"))[-1]
        .astype("datetime64[h]")
        .item()
        for part in PARTS
    }
    assert [f"{time:%Y-%m-%dT%H}" for time in last.values()] == [
        "2001-12-31T12",
        "2002-02-28T12",
        "2002-03-02T12",
    ]
    split.to_split().check_leaks(Step.parse("12 hours"))
