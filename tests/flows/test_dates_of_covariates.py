import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from flows.check import check
from flows.evaluate import evaluate
from flows.forecast import forecast
from flows.importance import importance
from flows.ingest import ingest
from flows.train import train
from stores.bundle import open_current_bundle
from stores.verify import verify
from tests.make_beyond import make_annual, make_beyond

PLAIN = ["outputs.report=false"]


@pytest.fixture(scope="module")
def begun_later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose covariate begins ten months after its target, and ends three before."""
    recipe = make_beyond(tmp_path_factory.mktemp("later"), "climatology", -3, later=10)
    ingest.fn(recipe)
    train.fn(recipe)
    return Path(recipe)


@pytest.fixture
def store(begun_later: Path, tmp_path: Path) -> str:
    shutil.copytree(begun_later.parent, tmp_path / "store")
    return str(tmp_path / "store" / begun_later.name)


def inits_of(scores: str) -> list[str]:
    inits: list[str] = json.loads(Path(scores).with_suffix(".json").read_text())["inits"]
    return inits


def test_inits_before_a_covariate_begins_are_left_out_and_counted(
    begun_later: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "10 inits left out for want of ndvi (2000-11 to 2005-03)"
    check(str(begun_later), [], None)
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert said in shown
    with caplog.at_level(logging.INFO):
        train.fn(str(begun_later), ["training.seed=5"], str(begun_later.parent / "run"))
    assert f"train part: {said}" in caplog.text


def test_a_part_without_any_frame_of_a_covariate_is_refused_by_check_and_train(
    tmp_path: Path,
) -> None:
    recipe = make_beyond(tmp_path, "climatology", 0, later=45)
    ingest.fn(recipe)
    said = r"split\.train has no .*for want of ndvi \(2003-10 to 2005-06\).*change the split"
    with pytest.raises(ValueError, match=said):
        check(recipe, [], None)
    with pytest.raises(ValueError, match=said):
        train.fn(recipe)
    assert not list((tmp_path / "run" / "models").glob("climatology-*"))


def test_an_init_before_a_covariate_begins_is_refused_with_the_nearest_that_works(
    store: str,
) -> None:
    with pytest.raises(ValueError, match=r"ndvi .* has no frame of 2000-09.* from 2001-01"):
        forecast.fn(store, init="2000-11")


def test_a_late_covariate_is_scored_as_it_would_have_been_forecast(
    store: str, caplog: pytest.LogCaptureFixture
) -> None:
    table = evaluate.fn(store, ["rollout.leads=1"])
    assert inits_of(table)[-1] == "2005-05"
    assert np.isfinite(pd.read_csv(table)["rmse"]).all()
    assert "ndvi (2000-11 to 2005-03) late in 1 of 16 inits" in caplog.text


def test_the_history_of_hindcasts_is_the_models_whatever_the_recipe_says(store: str) -> None:
    inits = inits_of(evaluate.fn(store))
    assert inits[0] == "2004-02"
    assert inits_of(evaluate.fn(store, ["rollout.history=1"])) == inits


def test_importance_is_measured_of_a_covariate_with_dates_of_its_own(store: str) -> None:
    found = pd.read_csv(importance.fn(store, ["rollout.leads=2"], repeats=2))
    assert set(found["covariate"]) == {"history", "ndvi"}
    assert np.isfinite(found["rmse_rise"]).all()


def test_a_new_month_of_the_target_moves_the_init_inside_a_longer_covariate(
    tmp_path: Path,
) -> None:
    recipe = make_beyond(tmp_path, "persist", 12)
    ingest.fn(recipe)
    train.fn(recipe)
    rain = tmp_path / "archive" / "rain"
    shutil.copy(rain / "rain_2004.07.tif", rain / "rain_2005.07.tif")
    ingest.fn(recipe)
    issue = Path(forecast.fn(recipe, PLAIN))
    assert issue.name == "2005-07"
    assert verify(issue) == []
    with pytest.raises(ValueError, match=r"init=2005-08 is not .*rain from 2000-01 to 2005-07"):
        forecast.fn(recipe, PLAIN, init="2005-08")


def test_gaps_at_the_end_of_an_archive_are_frames_that_are_still_to_come(
    tmp_path: Path,
) -> None:
    recipe = make_beyond(tmp_path, "persist", -3)
    ends = ["archive.end=2005-09", "archive.gaps=accept"]
    ingest.fn(recipe, ends)
    train.fn(recipe, ends)
    issue = Path(forecast.fn(recipe, [*ends, *PLAIN]))
    assert issue.name == "2005-06"
    assert verify(tmp_path / "run") == []
    (late,) = xr.open_zarr(issue / "forecast.zarr").attrs["late_covariates"]
    assert late.startswith("ndvi: 2 of 14 frames came late (it ends 2005-03)")


@pytest.mark.parametrize(
    ("years", "said"),
    [
        (range(1999, 2009), None),
        (range(1999, 2006), None),
        (
            range(1998, 2000),
            "trees: 9 of 14 frames came late (it ends 1999); its frame of",
        ),
    ],
    ids=["longer", "as long", "late"],
)
def test_annual_maps_stand_for_the_years_after_them(
    tmp_path: Path, years: range, said: str | None
) -> None:
    recipe = make_annual(tmp_path, years)
    ingest.fn(recipe)
    train.fn(recipe)
    issue = Path(forecast.fn(recipe, PLAIN))
    assert issue.name == "2005-06"
    late = xr.open_zarr(issue / "forecast.zarr").attrs.get("late_covariates", [""])
    assert late[0].startswith(said or "")
    assert bool(late[0]) == bool(said)


def test_annual_maps_that_have_to_be_known_reach_the_last_lead_or_are_refused(
    tmp_path: Path,
) -> None:
    recipe = make_annual(tmp_path, range(2000, 2006), "known")
    ingest.fn(recipe)
    train.fn(recipe)
    bundle = open_current_bundle(tmp_path / "run" / "models", "known")
    assert bundle.description["stack"]["forcings"][0]["future"] == "known"
    said = r"'trees' has future='known' but ends 2005, before 2006.* start from 2005-01,"
    with pytest.raises(ValueError, match=said):
        forecast.fn(recipe)
    assert Path(forecast.fn(recipe, PLAIN, init="2005-01")).name == "2005-01"
