from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from cronsim import CronSim

from pipeline.recipes import RecipeError, load_recipe
from pipeline.recipes.schedule import FLOWS, ScheduleRecipe, default_crons, name_cadence
from stores.times import Step
from tests.make import make_recipe


@pytest.mark.parametrize(
    ("cron", "name"),
    [
        ("0 2 * * *", "nightly"),
        ("0 6 * * *", "daily"),
        ("0 6 * * 1-5", "daily"),
        ("30 9 * * 1", "weekly"),
        ("0 6 1,11,21 * *", "every-10-days"),
        ("0 6 5 * *", "monthly"),
        ("0 4 2 1,4,7,10 *", "quarterly"),
        ("0 4 2 1,7 *", "half-yearly"),
        ("0 4 2 1 *", "yearly"),
        ("20 * * * *", "hourly"),
        ("20 */6 * * *", "every-6-hours"),
        ("2-59/5 * * * *", "every-5-minutes"),
        ("* * * * *", "every-1-minute"),
        (None, "by-hand"),
    ],
)
def test_a_cadence_says_how_often_a_cron_line_comes(cron: str | None, name: str) -> None:
    assert name_cadence(cron) == name


@pytest.mark.parametrize(
    ("step", "forecast"),
    [
        ("month", "monthly"),
        ("2 months", "every-61-days"),
        ("quarter", "quarterly"),
        ("6 months", "half-yearly"),
        ("12 months", "yearly"),
        ("year", "yearly"),
        ("5 years", "yearly"),
        ("day", "daily"),
        ("week", "daily"),
        ("hour", "hourly"),
        ("6 hours", "every-6-hours"),
        ("5 hours", "every-4-hours"),
        ("90 minutes", "hourly"),
        ("5 minutes", "every-5-minutes"),
        ("30 seconds", "every-1-minute"),
    ],
)
def test_a_recipe_without_a_schedule_is_forecast_as_often_as_frames_come(
    step: str, forecast: str
) -> None:
    crons = default_crons(Step.parse(step))
    assert name_cadence(crons["forecast"]) == forecast
    written = {flow: crons[flow] for flow in FLOWS}
    assert ScheduleRecipe.model_validate(written).cron_by_flow(Step.parse("year")) == written


@pytest.mark.parametrize("step", ["year", "5 years"])
def test_no_flow_of_years_runs_more_than_once_a_year_and_each_comes_behind_the_one_before(
    step: str,
) -> None:
    crons = default_crons(Step.parse(step))
    assert {name_cadence(cron) for cron in crons.values()} == {"yearly"}
    runs = [next(CronSim(crons[flow], datetime(2001, 1, 1))) for flow in FLOWS]
    assert runs == sorted(runs)
    assert len(set(runs)) == len(FLOWS)


def test_a_flow_without_a_cron_line_is_started_by_hand_and_one_not_named_follows_the_step() -> (
    None
):
    crons = ScheduleRecipe(train=None, forecast="0 6 * * *").cron_by_flow(Step.parse("month"))
    assert crons["train"] is None
    assert crons["forecast"] == "0 6 * * *"
    assert crons["ingest"] == default_crons(Step.parse("month"))["ingest"]


def test_a_schedule_is_no_science(tmp_path: Path) -> None:
    recipe = make_recipe(tmp_path)
    later = load_recipe(recipe, overrides=["schedule.forecast=0 7 * * *"])
    assert later.schedule.forecast == "0 7 * * *"
    assert later.fingerprint() == load_recipe(recipe).fingerprint()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("schedule.forecast=0 6 5 *", "4 fields, not 5"),
        ("schedule.forecast=0 6 5 * * *", "6 fields, not 5"),
        ("schedule.ingest=99 2 * * *", "Bad minute"),
        ("schedule.train=0 0 31 2 *", "Bad day-of-month"),
        ("schedule.timezone=Java", "'Java' is no IANA time zone.*such as 'Asia/Jakarta'"),
        ("schedule.notify=ops", "'ops' is no TYPE/NAME of a block"),
        ("schedule.forecasts=0 6 * * *", "did you mean 'forecast'"),
        ("schedule.max_delay_hours=0", "max_delay_hours: 0 is not more than 0; write"),
    ],
)
def test_a_schedule_that_would_never_run_is_refused(
    tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(make_recipe(tmp_path), overrides=[override])
