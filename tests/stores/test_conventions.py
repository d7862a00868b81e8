from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from pipeline.recipes import load_recipe
from stores.acdd import extent_attributes, time_coverage_attributes
from stores.archive import SourceVariable
from stores.forecast import commit_forecast, create_forecast
from stores.forecast_template import ForecastVariable
from stores.issue import open_stage
from stores.times import Step, to_times
from tests.make import make_archive
from tests.make_ingest import ELEVATION, LAND, ingest_variables
from tests.make_issue import RAIN, make_issue, make_key, make_stage, make_template
from tests.make_netcdf import find_faults

JAVA = Path(str(files("deploy").joinpath("recipes/rainfall-java.yaml")))


def make_empty(root: Path, *variables: ForecastVariable) -> Path:
    """Commit a forecast that holds no value yet; what is said of it is whole."""
    stage = open_stage(root, make_key())
    metadata = load_recipe(JAVA).metadata.attributes
    template = replace(make_template(), variables=variables, attributes=metadata)
    store = create_forecast(stage, template)
    commit_forecast(stage)
    return store


def test_a_published_forecast_passes_the_cf_checker(tmp_path: Path) -> None:
    assert find_faults(make_issue(tmp_path).path / "forecast.zarr", "cf:1.11") == []


def test_the_packaged_recipe_and_all_its_products_pass_the_cf_checker(tmp_path: Path) -> None:
    target = load_recipe(JAVA).target_variable
    endings = {"": "mean", "_sd": "standard_deviation"}
    described = [
        ForecastVariable(
            f"precipitation{ending}",
            target.units,
            target.long_name,
            target.standard_name,
            {"cell_methods": f"realization: {method}"},
            target.cell_methods,
        )
        for ending, method in endings.items()
    ]
    store = make_empty(tmp_path, *described)
    # CF 7.3 takes a standard name for a dimension that is gone; the checker does not.
    faults = find_faults(store, "cf:1.11")
    assert not [fault for fault in faults if "name component realization" not in fault]
    with xr.open_zarr(store) as forecast:
        methods = forecast.precipitation.attrs["cell_methods"]
    assert methods == "time: mean realization: mean"


def test_a_quantity_whose_units_do_not_fit_its_name_fails_the_cf_checker(
    tmp_path: Path,
) -> None:
    wrong = replace(RAIN, standard_name="lwe_thickness_of_precipitation_amount")
    (fault,) = find_faults(make_empty(tmp_path, wrong), "cf:1.11")
    assert "must be convertible to canonical units" in fault


def test_a_cube_passes_the_cf_checker(tmp_path: Path) -> None:
    make_archive(tmp_path / "a", n=3)
    rain = SourceVariable(
        "rain",
        "rain/rain_{time:%Y.%m}.tif",
        "mm month-1",
        standard_name="lwe_precipitation_rate",
        cell_methods="time: mean",
    )
    ingest_variables(tmp_path / "a", tmp_path / "cube.zarr", rain, ELEVATION, LAND)
    assert find_faults(tmp_path / "cube.zarr", "cf:1.11") == []
    with xr.open_zarr(tmp_path / "cube.zarr") as cube:
        assert cube.rain.attrs["cell_methods"] == "time: mean"
        assert cube.attrs["time_coverage_end"] == "2000-04-01T00:00:00Z"
        np.testing.assert_array_equal(cube.time_bnds[1:, 0], cube.time_bnds[:-1, 1])
        assert "time_bnds" in cube.coords


def test_a_recipe_says_what_catalogs_ask_of_a_forecast(tmp_path: Path) -> None:
    faults = find_faults(make_empty(tmp_path, RAIN), "acdd:1.3")
    assert not [fault for fault in faults if 'variable "rain"' in fault]
    missing = {fault.split()[2] for fault in faults if fault.startswith("Global Attributes:")}
    stated = {"summary", "keywords", "license", "acknowledgment/acknowledgement", "Conventions"}
    computed = {"geospatial_bounds", "geospatial_lat_min", "time_coverage_start", "id"}
    assert not missing & (stated | computed)


def test_frames_are_periods_that_touch(tmp_path: Path) -> None:
    with xr.open_zarr(make_stage(tmp_path, make_key()) / "forecast.zarr") as forecast:
        bounds = forecast.time_bnds
        np.testing.assert_array_equal(bounds[:, 0], forecast.time)
        np.testing.assert_array_equal(bounds[1:, 0], bounds[:-1, 1])
        assert bounds[-1, 1].values == np.datetime64("2018-04-01")
        assert forecast.time.encoding["units"] == "days since 1970-01-01"


def test_the_forecast_period_leads_from_the_init_to_the_frame(tmp_path: Path) -> None:
    with xr.open_zarr(make_stage(tmp_path, make_key()) / "forecast.zarr") as forecast:
        period = forecast.forecast_period
        assert period.attrs["standard_name"] == "forecast_period"
        np.testing.assert_array_equal(forecast.init_time + period, forecast.time)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3035", "+proj=laea +lat_0=-7 +lon_0=110"])
def test_a_store_says_where_it_lies_as_geozarr_does(crs: str, tmp_path: Path) -> None:
    size = 0.05 if crs == "EPSG:4326" else 5000
    grid = GeoBox((23, 31), Affine(size, 0, 10, 0, -size, 50), crs)
    stage = open_stage(tmp_path, make_key())
    store = create_forecast(stage, replace(make_template(), grid=grid))
    attributes = json.loads((store / "zarr.json").read_text())["attributes"]
    names = {one["name"] for one in attributes["zarr_conventions"]}
    assert names == {"proj:", "spatial"}
    named = {"proj:code", "proj:wkt2", "proj:projjson"} & set(attributes)
    assert named == ({"proj:code"} if crs.startswith("EPSG") else {"proj:wkt2"})
    assert attributes.get("proj:code", crs) == crs
    assert attributes["spatial:dimensions"] == ["y", "x"]
    assert attributes["spatial:shape"] == [23, 31]
    assert Affine(*attributes["spatial:transform"]) == grid.affine
    assert attributes["spatial:bbox"] == [10, 50 - 23 * size, 10 + 31 * size, 50]


def test_a_grid_across_the_antimeridian_has_no_polygon_around_the_globe() -> None:
    fiji = GeoBox((10, 10), Affine(1, 0, 175, 0, -1, -12), "EPSG:4326")
    attributes = extent_attributes(fiji)
    assert (attributes["geospatial_lon_min"], attributes["geospatial_lon_max"]) == (175, -175)
    assert "geospatial_bounds" not in attributes


def test_coverage_lasts_to_the_end_of_the_last_frame() -> None:
    assert time_coverage_attributes(Step.parse("5 years"), to_times(["2000", "2005"])) == {
        "time_coverage_start": "2000-01-01T00:00:00Z",
        "time_coverage_end": "2010-01-01T00:00:00Z",
        "time_coverage_duration": "P10Y",
        "time_coverage_resolution": "P5Y",
    }
