"""Builders of archives whose covariate begins and ends at other dates than the target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from tests.make import make_recipe, make_tiffs, write_tiff

GRID = GeoBox((9, 11), Affine(0.1, 0, 10.0, 0, -0.1, 50.0), "EPSG:4326")
N_RAIN = 66
"""Months of the target: 2000-01 to 2005-06."""
NDVI, TREES = "ndvi/ndvi_{time:%Y.%m}.tif", "trees_{time:%Y}.tif"


def make_beyond(
    folder: Path, future: str, longer: int, *, later: int = 0, **changes: Any
) -> str:
    """Write rain and ndvi, and a recipe of three months of history and twelve leads.

    Args:
        folder: gets the archive, unless it is there, and the recipe.
        future: policy of ndvi; names the recipe as well.
        longer: months by which ndvi ends after the rain.
        later: months by which it begins after it.
        changes: of the recipe.
    """
    archive = folder / "archive"
    if not archive.exists():
        make_tiffs(archive, n=N_RAIN, grid=GRID)
        start, n = str(np.datetime64("2000-01") + later), N_RAIN + longer - later
        make_tiffs(archive, n=n, start=start, files=NDVI, grid=GRID, seed=1)
    ndvi = {"kind": "step", "variable": "ndvi", "future": future, "delay": 1}
    asked = {
        "name": future,
        "archive": archive_of(ndvi={"files": NDVI, "units": "1"}),
        "covariates": [ndvi | {"transform": ["anomaly", "zscore"]}],
    }
    return write_recipe(folder, **asked | changes)


def make_annual(folder: Path, years: range, future: str = "persist", **changes: Any) -> str:
    """Write rain and a map of trees for some years, and a recipe as ``make_beyond`` does."""
    archive = folder / "archive"
    if not archive.exists():
        make_tiffs(archive, n=N_RAIN, grid=GRID)
        for year in years:
            trees = np.arange(9 * 11, dtype=np.float32).reshape(9, 11) + 10 * year
            write_tiff(
                archive / TREES.format(time=np.datetime64(f"{year}").item()), trees, grid=GRID
            )
    asked = {
        "name": future,
        "archive": archive_of(trees={"files": TREES, "units": "1"}),
        "covariates": [{"kind": "annual", "variable": "trees", "future": future}],
    }
    return write_recipe(folder, **asked | changes)


def archive_of(**covariates: dict[str, str]) -> dict[str, Any]:
    """Return the variables of an archive: rain, and some covariates."""
    return {"variables": {"elevation": None, "land_fraction": None, **covariates}}


def write_recipe(folder: Path, **changes: Any) -> str:
    """Write a recipe that trains for a moment on the tiny grid, under its own name."""
    recipe = make_recipe(
        folder,
        domain=None,
        split={
            "train": ["2000-01", "2002-12"],
            "validation": ["2003-02", "2003-10"],
            "test": ["2003-12", "2005-06"],
        },
        training={"epochs": 1, "patch_px": 5, "leads": 1},
        rollout={"history": 3, "leads": 12},
        outputs={"cog": False},
        **changes,
    )
    return str(recipe.rename(folder / f"{changes['name']}.yaml"))
