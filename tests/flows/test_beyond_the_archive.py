import html
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr

from flows.check import check
from flows.forecast import forecast
from flows.ingest import ingest
from flows.plan import plan
from flows.train import train
from stores.grid import read_grid
from stores.verify import verify
from tests.make import write_tiff
from tests.make_beyond import make_beyond

LAST = "2005-06"
LONGER = {"as long": 0, "longer": 12, "shorter": -1, "late": -3}
"""Months by which the covariate ends after the target; it is stated to lag one month."""
PAGE = ["outputs.report=true"]
FUTURES = ("known", "climatology", "persist")

Make = Callable[[str, str], str]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Make:
    folder = tmp_path_factory.mktemp("beyond")

    @cache
    def make(future: str, kind: str) -> str:
        recipe = make_beyond(folder / kind.replace(" ", "-"), future, LONGER[kind])
        ingest.fn(recipe)
        train.fn(recipe)
        return recipe

    return make


def tree(recipe: str) -> list[str]:
    return sorted(str(path) for path in Path(recipe).parent.rglob("*"))


def months(first: str, n: int) -> list[str]:
    return [str(month) for month in np.datetime64(first) + np.arange(n)]


@pytest.mark.parametrize(
    "kind",
    [
        "as long",
        "shorter",
        *(pytest.param(k, marks=pytest.mark.slow) for k in ("longer", "late")),
    ],
)
@pytest.mark.parametrize(
    "future", ["climatology", pytest.param("persist", marks=pytest.mark.slow)]
)
def test_twelve_leads_beyond_the_archive_are_published_with_their_report(
    made: Make, future: str, kind: str
) -> None:
    assert_published(Path(forecast.fn(made(future, kind), PAGE)), late=kind == "late")


def test_a_covariate_known_ahead_takes_its_forecast_beyond_the_archive(made: Make) -> None:
    assert_published(Path(forecast.fn(made("known", "longer"), PAGE)), late=False)


def assert_published(issue: Path, *, late: bool) -> None:
    assert issue.name.partition(".")[0] == LAST
    assert verify(issue) == []
    opened = xr.open_zarr(issue / "forecast.zarr")
    assert opened["time"].to_numpy().astype("datetime64[M]").astype(str).tolist() == months(
        "2005-07", 12
    )
    assert np.isfinite(opened["rain"].to_numpy()[:, opened["domain"].to_numpy() == 1]).all()
    page = (issue / "report.html").read_text()
    assert "Forecast minus climatology" in page
    assert "Errors of this forecast" not in page
    assert ("late_covariates" in opened.attrs) == late == ("came late" in page)


@pytest.mark.parametrize("kind", ["as long", "shorter", "late"])
def test_a_known_covariate_that_ends_too_early_is_refused_before_a_byte_is_written(
    made: Make, kind: str
) -> None:
    recipe = made("known", kind)
    ends = months("2005-03", 4)[LONGER[kind] + 3]
    before = tree(recipe)
    said = rf"'ndvi' has future='known' but ends {ends}, before 2006-05"
    with pytest.raises(ValueError, match=said):
        check(recipe, [], None)
    with pytest.raises(ValueError, match=said):
        plan(recipe, [], None, None)
    with pytest.raises(ValueError, match=said):
        forecast.fn(recipe)
    assert tree(recipe) == before


@pytest.mark.parametrize(
    ("future", "stands"),
    [("climatology", "its season's mean"), ("persist", "its frame of 2005-03")],
)
def test_a_covariate_that_lags_more_than_it_may_is_counted_wherever_the_forecast_is_told(
    made: Make, future: str, stands: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = made(future, "late")
    said = f"ndvi: 2 of 14 frames came late (it ends 2005-03); {stands} stands for them"
    issue = Path(forecast.fn(recipe, PAGE))
    assert xr.open_zarr(issue / "forecast.zarr").attrs["late_covariates"] == [said]
    assert said in html.unescape((issue / "report.html").read_text())
    for show in (lambda: check(recipe, [], None), lambda: forecast.fn(recipe)):
        capsys.readouterr()
        show()
        assert "2 of 14 frames came late" in " ".join(capsys.readouterr().out.split())


def poison(archive: Path, after: str) -> int:
    """Replace the covariate's frames after a month by the absurd; count them."""
    n_poisoned = 0
    for path in sorted((archive / "ndvi").glob("*.tif")):
        if path.stem.removeprefix("ndvi_").replace(".", "-") > after:
            with rasterio.open(path) as raster:
                absurd = np.full(raster.shape, 1e6 + n_poisoned, np.float32)
            write_tiff(path, absurd, grid=read_grid(path), nodata=-9999.0)
            n_poisoned += 1
    return n_poisoned


@pytest.mark.parametrize("future", FUTURES)
def test_values_after_what_was_known_do_not_change_the_forecast_by_a_bit(
    made: Make, tmp_path: Path, future: str
) -> None:
    clean = Path(made(future, "longer"))
    shutil.copytree(clean.parent / "archive", tmp_path / "archive")
    assert poison(tmp_path / "archive", after="2005-05") == 13
    dirty = Path(make_beyond(tmp_path, future, LONGER["longer"]))
    ingest.fn(str(dirty))
    shutil.copytree(clean.parent / "run" / "models", tmp_path / "run" / "models")
    found, expected = (
        xr.open_zarr(Path(forecast.fn(str(recipe))) / "forecast.zarr")["rain"].to_numpy()
        for recipe in (dirty, clean)
    )
    if future == "known":  # then these values are asked for: the poison shows
        assert np.nanmax(np.abs(found - expected)) > 0.01
    else:
        np.testing.assert_array_equal(found, expected)
