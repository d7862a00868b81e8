"""Scores, margins and what a page says of them, through the flows."""

from __future__ import annotations

import errno
import html
import logging
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from flows.evaluate import evaluate
from flows.forecast import forecast
from flows.ingest import ingest
from flows.paths import scores_path
from flows.recipe_store import find_bundle, open_cube
from flows.resolve import open_recipe
from flows.steps import issue as issue_steps
from flows.steps import page as page_steps
from flows.train import train
from pipeline.metrics.calibration import Calibration
from pipeline.rollout.calibrate import save_calibration
from stores.bundle import open_current_bundle
from stores.errors import CorruptError
from stores.verify import verify
from tests.make import make_recipe

INIT = "2006-12"
PAGE = ["outputs.report=true"]
TWO_LEADS = ["rollout.leads=2"]
CALIBRATION = "split.calibration=[2005-08, 2005-12]"
PARTED = ["split.validation=[2005-02, 2005-06]", CALIBRATION]


def recipe_of(store: Path) -> str:
    return str(store / "recipe.yaml")


def page_of(issue: str) -> str:
    """Read a page as a person does: without tags, pictures and line breaks."""
    raw = re.sub(r"<style>.*?</style>|<[^>]*>", " ", (Path(issue) / "report.html").read_text())
    return " ".join(html.unescape(raw).split())


def lower_of(issue: str) -> xr.DataArray:
    opened: xr.Dataset = xr.open_zarr(Path(issue) / "forecast.zarr")
    return opened["rain_lower"]


def damage_cube(store: Path, month: int) -> None:
    """Overwrite the frame of a month in the middle."""
    for file in (store / "run/cube.zarr/rain/c" / str(month)).rglob("*"):
        if file.is_file():
            written = bytearray(file.read_bytes())
            written[len(written) // 2] ^= 0xFF
            file.write_bytes(bytes(written))


def test_what_a_page_says_of_the_model_is_in_its_bundle(store: Path) -> None:
    edited = ["split.train=[2001-01, 2004-12]", "target.transform=[zscore]"]
    edited += ["archive.variables.rain.units=cm", "rollout.history=4"]
    bundle = open_current_bundle(store / "run/models", "small-rain").path.name
    page = page_of(forecast.fn(recipe_of(store), [*edited, *PAGE], init=INIT, bundle=bundle))
    assert "Trained on 2000-01 to 2004-12" in page
    assert "Transform log1p, zscore" in page
    assert "Units mm month⁻¹" in page
    assert "History 3 frames" in page


@pytest.mark.slow
def test_a_page_of_an_ensemble_says_that_it_shows_its_mean(store: Path) -> None:
    members = ["rollout.members=2", "rollout.perturb.noise=0.1"]
    page = page_of(forecast.fn(recipe_of(store), [*members, *PAGE], init=INIT))
    assert "Forecast of mean of monthly rain, 2007-01 to" in page
    assert "Members 2" in page


def test_units_of_an_issue_are_those_that_the_model_learned(store: Path) -> None:
    edited = ["archive.variables.rain.units=cm"]
    issue = forecast.fn(recipe_of(store), edited, init=INIT)
    assert xr.open_zarr(Path(issue) / "forecast.zarr")["rain"].attrs["units"] == "mm month-1"


@pytest.mark.slow
def test_an_evaluation_of_other_leads_keeps_the_scores_and_intervals_that_were_there(
    store: Path,
) -> None:
    four = evaluate.fn(recipe_of(store))
    before = Path(four).read_bytes()
    two = evaluate.fn(recipe_of(store), TWO_LEADS)
    assert two != four
    assert Path(four).read_bytes() == before
    issue = forecast.fn(recipe_of(store), PAGE, init=INIT)
    assert lower_of(issue).sizes["time"] == 4
    assert "has not been scored" not in page_of(issue)
    assert "worse than" in page_of(issue) or "better than" in page_of(issue)
    short = forecast.fn(recipe_of(store), [*TWO_LEADS, *PAGE], init=INIT)
    assert lower_of(short).sizes["time"] == 2
    assert "has not been scored" not in page_of(short)


def test_fewer_leads_take_the_first_margins_of_more(store: Path) -> None:
    evaluate.fn(recipe_of(store))
    whole = forecast.fn(recipe_of(store), init=INIT)
    short = forecast.fn(recipe_of(store), init=INIT, leads=2)
    np.testing.assert_array_equal(lower_of(short), lower_of(whole)[:2])


def test_a_page_leaves_out_scores_of_other_settings_and_names_the_difference(
    store: Path,
) -> None:
    evaluate.fn(recipe_of(store), TWO_LEADS)
    issue = forecast.fn(recipe_of(store), PAGE, init=INIT)
    page = page_of(issue)
    assert "has not been scored as it was used here" in page
    assert "rollout.leads=2 (here 4)" in page
    assert "Skill" not in page
    assert "rain_lower" not in xr.open_zarr(Path(issue) / "forecast.zarr")


@pytest.mark.slow
def test_a_page_says_when_scores_were_made_on_another_version_of_the_cube(
    store: Path,
) -> None:
    evaluate.fn(recipe_of(store))
    frames = store / "archive/rain"
    shutil.copy(frames / "rain_2007.01.tif", frames / "rain_2008.01.tif")
    ingest.fn(recipe_of(store))
    issue = forecast.fn(recipe_of(store), PAGE, init=INIT)
    assert "was scored on version" in page_of(issue)
    assert lower_of(issue).sizes["time"] == 4


def test_a_damaged_cube_ends_an_evaluation_instead_of_leaving_out_intervals(
    store: Path,
) -> None:
    damage_cube(store, 12 * 5 + 2)  # 2005-03, which validates and is no frame of the test
    with pytest.raises(
        CorruptError, match="is damaged where this flow would read it: rain/c/62"
    ):
        evaluate.fn(recipe_of(store))


def test_a_validation_part_without_a_hindcast_leaves_out_intervals_alone(
    store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    short = ["split.validation=[2005-02, 2005-06]", "rollout.leads=4"]
    train.fn(recipe_of(store), short)
    evaluate.fn(recipe_of(store), short)
    assert "no intervals will be published" in caplog.text
    assert "7 frames" in caplog.text


def test_margins_are_learned_on_the_calibration_part_where_there_is_one(store: Path) -> None:
    recipe = str(make_recipe(store, training={"epochs": 1}, rollout={"leads": 2}))
    train.fn(recipe, PARTED)
    evaluate.fn(recipe, PARTED)
    issue = forecast.fn(recipe, [*PARTED, *PAGE], init=INIT)
    attributes = lower_of(issue).attrs
    assert (
        "of the calibration part (from 2005-10), which nothing else uses"
        in attributes["method"]
    )
    assert "which nothing else uses" in page_of(issue)


@pytest.mark.slow
def test_margins_of_the_validation_part_say_that_it_also_chose_the_epoch(store: Path) -> None:
    evaluate.fn(recipe_of(store))
    issue = forecast.fn(recipe_of(store), PAGE, init=INIT)
    said = "5 forecasts of the validation part (from 2005-04 to 2005-08), which also chose the"
    assert said in lower_of(issue).attrs["method"]
    assert said in page_of(issue)


@pytest.mark.slow
def test_a_page_names_the_leads_whose_interval_was_narrowed(store: Path) -> None:
    recipe = open_recipe(recipe_of(store), None, None)
    cube, bundle = open_cube(recipe), find_bundle(recipe, None)
    job = issue_steps.plan_forecast(recipe, cube, bundle, init=INIT, leads=None)
    margins = Calibration(0.8, (0.2, -0.1, -0.3, 0.1), (99,) * 4, "validation", ("2005-04",))
    key = job.score_key("validation")
    save_calibration(scores_path(recipe, bundle.path), key, margins, cube.version)
    issue = forecast.fn(recipe_of(store), PAGE, init=INIT)
    assert lower_of(issue).attrs["margins"] == [0.2, -0.1, -0.3, 0.1]
    assert "they move inward" in lower_of(issue).attrs["comment"]
    assert "narrower than what the forecast spans at leads 2-3" in page_of(issue)


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EIO, "truth is gone")])
def test_a_forecast_is_published_without_the_page_that_could_not_be_drawn(
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(page_steps, "build_report", fail)
    issue = Path(forecast.fn(recipe_of(store), PAGE, init=INIT))
    assert not (issue / "report.html").exists()
    assert verify(issue) == []
    said = xr.open_zarr(issue / "forecast.zarr").attrs["report"]
    assert type(error).__name__ in said
    assert type(error).__name__ in caplog.text


@pytest.mark.slow
def test_a_page_of_what_is_not_known_yet_shows_no_errors(store: Path) -> None:
    known = page_of(forecast.fn(recipe_of(store), PAGE, init=INIT))
    ahead = page_of(forecast.fn(recipe_of(store), ["rollout.leads=3", *PAGE]))
    assert "Errors of this forecast" in known
    assert "Errors of this forecast" not in ahead
    assert "Departure from the usual" in ahead


def test_a_full_disk_is_not_hidden_by_the_page(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(page_steps, "write_text", fail)
    with pytest.raises(OSError, match="No space left"):
        forecast.fn(recipe_of(store), PAGE, init=INIT)
    assert not list((store / "run").glob("issues/*"))
