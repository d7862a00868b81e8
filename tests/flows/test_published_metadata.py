from __future__ import annotations

from pathlib import Path

import xarray as xr

from flows.evaluate import evaluate
from flows.forecast import forecast
from tests.make_flow import INIT, recipe_of
from tests.make_netcdf import find_faults


def test_a_forecast_with_intervals_passes_the_checker_and_says_who_made_it(
    store: Path,
) -> None:
    said = [
        "metadata.institution=Office of Rain",
        "metadata.license=CC-BY-4.0",
        'archive.variables.rain.cell_methods="time: mean"',
        "outputs.report=false",
    ]
    evaluate.fn(recipe_of(store), said)
    issue = Path(forecast.fn(recipe_of(store), said, init=INIT))
    assert find_faults(issue / "forecast.zarr", "cf:1.11") == []
    with xr.open_zarr(issue / "forecast.zarr") as published:
        assert published.attrs["institution"] == "Office of Rain"
        assert published.attrs["license"] == "CC-BY-4.0"
        assert published.rain_lower.attrs["cell_methods"] == "time: mean"
        assert published.attrs["time_coverage_start"] == "2007-01-01T00:00:00Z"
