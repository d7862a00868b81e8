from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from flows.check import check
from flows.evaluate import evaluate
from flows.forecast import forecast
from flows.ingest import ingest
from flows.train import train
from pipeline.recipes import RecipeError
from stores.errors import ArchiveError
from stores.times import Step, parse_time
from tests.make import date_names, make_fields, make_recipe, write_tiff


@dataclass(frozen=True)
class Case:
    """A series of another step, and the parts a user would write for it."""

    step: str
    files: str
    start: str
    n: int
    train: tuple[str, str]
    validation: tuple[str, str]
    test: tuple[str, str]
    init: str
    """Label of the last frame of the archive."""
    seasons: int
    """Seasons that the climatology holds."""
    baselines: set[str]


BASELINES = {"persistence", "climatology"}
SECONDS = Case(
    step="30 seconds",
    files="rain/{time:%Y%m%d%H%M%S}.tif",
    start="2019-06-09T23:57:30",
    n=24,
    train=("2019-06-09T23:57:30", "2019-06-10T00:02:00"),
    validation=("2019-06-10T00:02:30", "2019-06-10T00:05:00"),
    test=("20190610T000530", "20190610T001000"),
    init="20190610T000900",
    seasons=1,
    baselines=BASELINES,
)
MINUTES = Case(
    step="5 minutes",
    files="rain/{time:%Y%j/%H%M}.tif",
    start="1969-12-31T23:04",
    n=24,
    train=("1969-12-31T23:00", "1969-12-31T23:58"),
    validation=("1970-01-01T00:00", "1970-01-01T00:28"),
    test=("1970-01-01T00:29", "1970-01-01T02:00"),
    init="19700101T0059",
    seasons=1,
    baselines=BASELINES,
)
HALF_DAYS = Case(
    step="12 hours",
    files="rain/{time:%Y_%m_%d_%H}.tif",
    start="2019-12-20T06",
    n=40,
    train=("2019-12-20", "2020-01-02T00"),
    validation=("2020-01-02T12", "2020-01-05T00"),
    test=("2020-01-05T01", "2020-01-31"),
    init="20200108T18",
    seasons=2,
    baselines=BASELINES | {"seasonal_naive"},
)
DAYS = Case(
    step="day",
    files="rain/{time:%y%b%d}.tif",
    start="2019-12-20",
    n=40,
    train=("2019-12-20", "2020-01-08"),
    validation=("2020-01-09", "2020-01-15"),
    test=("2020-01-16", "2020-01-31"),
    init="2020-01-28",
    seasons=1,
    baselines=BASELINES,
)
EIGHT_DAYS = Case(
    step="8 days",
    files="rain/{time:%Y%j}.tif",
    start="2010-01-04",
    n=46 * 4,
    train=("2010-01-01", "2012-06-30"),
    validation=("2012-07-01", "2012-12-31"),
    test=("2013-01-01", "2014-01-31"),
    init="2014-01-07",
    seasons=46,
    baselines=BASELINES | {"seasonal_naive"},
)
FIVE_YEARS = Case(
    step="5 years",
    files="rain/human_{time:%Y}.tif",
    start="1943",
    n=16,
    train=("1940", "1974"),
    validation=("1975", "1995"),
    test=("1996", "2020"),
    init="2018",
    seasons=1,
    baselines=BASELINES,
)
CASES = [SECONDS, MINUTES, HALF_DAYS, DAYS, EIGHT_DAYS, FIVE_YEARS]


def make_series(folder: Path, case: Case, **overrides: Any) -> str:
    """Write an archive of one variable and a recipe that trains on it in a second."""
    names = list(date_names(case.files, start=case.start, n=case.n, step=case.step))
    for name, frame in zip(names, make_fields(case.n), strict=True):
        write_tiff(folder / "archive" / name, frame)
    rain = {"files": case.files, "units": "mm"}
    wanted: dict[str, Any] = {
        "archive": {"step": case.step, "variables": {"elevation": None, "land_fraction": None}},
        "grid": {"like": names[0]},
        "covariates": [{"kind": "derived", "of": "season"}],
        "domain": None,
        "target": {"transform": ["log1p", "anomaly", "zscore"]},
        "split": {
            "train": list(case.train),
            "validation": list(case.validation),
            "test": list(case.test),
            "gap": 0,
        },
        "training": {"epochs": 1},
        "outputs": {"cog": False, "report": case.step == "12 hours"},  # pictures take seconds
        "rollout": {"history": 2, "leads": 2},
    }
    wanted["archive"]["variables"]["rain"] = rain
    return str(make_recipe(folder, **(wanted | overrides)))


FIVE_MONTHS = Case(
    step="5 months",
    files="rain/rain_{time:%Y-%m}.tif",
    start="1980-03",
    n=48,
    train=("1980", "1990"),
    validation=("1991", "1995-04"),
    test=("1995-02", "2000"),
    init="1999-10",
    seasons=1,
    baselines=BASELINES,
)


def test_a_split_is_judged_by_the_frames_that_the_archive_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = make_series(tmp_path, FIVE_MONTHS)
    with pytest.raises(
        RecipeError, match=r"newest frame 1999-10:\n  split: split leaks: .* test"
    ):
        check(recipe, [], None)  # 1995-03 is in both
    apart = ["split.validation=[1991-01, 1995-02]", "split.test=[1995-02, 2000-12]"]
    check(recipe, apart, None)  # 1995-02 is none
    assert "1995-03 to 2000-08" in capsys.readouterr().out


def test_dates_that_nanoseconds_cannot_hold_are_refused_before_any_work(tmp_path: Path) -> None:
    recipe = make_series(tmp_path, FIVE_YEARS)
    far = ["rollout.leads=60", "split.test=['1996', '2400']"]
    with pytest.raises(
        ValueError, match=r"leads=60 from 2018 end 2323, .* ask for 47 leads or"
    ):
        check(recipe, far, None)
    check(recipe, ["rollout.leads=47", "split.test=['1996', '2400']"], None)
    with pytest.raises(
        RecipeError, match=r"archive: end='2300' lies beyond 1677-09-22 to 2262"
    ):
        check(recipe, ["archive.end='2300'"], None)
    frames = sorted((tmp_path / "archive/rain").glob("*.tif"))
    frames[-1].rename(frames[-1].with_name("human_2303.tif"))
    said = r"human_2303.tif: '2303' does not lie in 1677-09-22 to 2262-04-11"
    for work in (check, ingest.fn):
        with pytest.raises(ArchiveError, match=said):
            work(recipe, [], None)
    assert not (tmp_path / "run").exists()


def assert_read_by_people(said: str, init: str) -> None:
    """Compact labels stand in paths alone."""
    words = re.sub(r"\S*/\S*", "", said)
    assert init in words
    assert not re.findall(r".*\d{8}T\d.*", words)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.step)
def test_the_whole_job_runs_on_every_step(
    case: Case,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    recipe, root = make_series(tmp_path, case), tmp_path / "run"
    check(recipe, [], None)
    ingest.fn(recipe)
    train.fn(recipe)
    scores = pd.read_csv(evaluate.fn(recipe))
    assert set(scores["method"]) == {"model"} | case.baselines
    assert np.isfinite(scores["rmse"]).all()
    issue = Path(forecast.fn(recipe))
    assert issue == root / "issues/small-rain" / case.init
    assert forecast.fn(recipe, init=case.init) == str(issue)  # a printed label is understood
    step, init = Step.parse(case.step), parse_time(case.init)
    opened = xr.open_zarr(issue / "forecast.zarr")
    expected = [step.add(init, lead) for lead in (1, 2)]
    assert opened["time"].to_numpy().astype("datetime64[s]").tolist() == [
        time.item() for time in expected
    ]
    assert json.loads((issue / "item.json").read_text())["properties"]["datetime"]
    assert_read_by_people(capsys.readouterr().out + caplog.text, step.format(init))
    if (issue / "report.html").exists():
        page = re.sub(r"<[^>]*>", " ", (issue / "report.html").read_text())
        assert_read_by_people(page, step.format(init))
    fields = xr.open_zarr(next((root / "models").glob("*/fields.zarr")))
    assert fields["climatology"].sizes["season"] == case.seasons
