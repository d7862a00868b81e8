from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.make_issue import LEADS, make_issue, make_key, make_values

INITS = ("2017-10", "2017-11", "2017-12")
EXPLICIT = {"join": "outer", "coords": "different", "compat": "no_conflicts", "data_vars": "all"}


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    made = (make_issue(tmp_path, make_key(init=init)) for init in INITS)
    return [issue.path / "forecast.zarr" for issue in made]


@pytest.mark.parametrize("said", [{}, EXPLICIT], ids=["plain", "explicit"])
def test_several_issues_open_together_along_init_time(
    said: dict[str, Any], paths: list[Path]
) -> None:
    with warnings.catch_warnings():
        if not said:  # xarray announces other defaults; docs give the line that states them
            warnings.simplefilter("ignore", FutureWarning)
        several = xr.open_mfdataset(
            paths, engine="zarr", combine="nested", concat_dim="init_time", **said
        )
    with several:
        assert several.rain.dims == ("init_time", "time", "y", "x")
        assert dict(several.sizes) | {"init_time": 3, "time": 5} == dict(several.sizes)
        inits = np.array(INITS, dtype="datetime64[ns]")
        np.testing.assert_array_equal(several.init_time, inits)
        november = several.rain.sel(time="2018-01-01")  # what each init said of one month
        valid = np.isfinite(november).any(("y", "x")).to_numpy()
        np.testing.assert_array_equal(valid, [True, True, True])
        np.testing.assert_array_equal(november.isel(init_time=2), make_values()[0])
        leads = several.lead.sel(time="2018-01-01")
        np.testing.assert_array_equal(leads, [3, 2, 1])
        np.testing.assert_array_equal(several.time_bnds.isel(bnds=0), several.time)


def test_several_issues_open_together_by_lead(paths: list[Path]) -> None:
    several = xr.open_mfdataset(
        paths,
        engine="zarr",
        combine="nested",
        concat_dim="init_time",
        preprocess=lambda issue: issue.swap_dims(time="lead"),
        **EXPLICIT | {"join": "exact"},
    )
    with several:
        assert several.rain.dims == ("init_time", "lead", "y", "x")
        assert several.rain.shape[:2] == (3, LEADS)
        assert several.time.dims == ("init_time", "lead")
        np.testing.assert_array_equal(several.time[0, 1], several.time[1, 0])
        assert np.isfinite(several.rain.isel(y=11, x=15)).all()
