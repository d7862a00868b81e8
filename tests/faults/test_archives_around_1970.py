"""Numbers of time begin at 0 in January 1970; an archive may begin before, there, or later."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flows.ingest import ingest
from stores.cube import Cube
from stores.times import parse_time
from stores.windows import Window
from tests.make import (
    GRID,
    NODATA,
    RAIN_FILES,
    SHAPE,
    date_names,
    make_fields,
    make_recipe,
    write_tiff,
)

WHOLE = Window.from_shape(SHAPE)
N = 6
SERIES = {
    "month": (RAIN_FILES, "1969-10"),
    "year": ("rain/rain_{time:%Y}.tif", "1967"),
    "day": ("rain/rain_{time:%Y%m%d}.tif", "1969-12-29"),
    "hour": ("rain/rain_{time:%Y%m%dT%H}.tif", "1969-12-31T21"),
}


def make_archive_around(folder: Path, step: str) -> str:
    """Write a series over the first moment of 1970, annual maps over its year, and a recipe."""
    files, start = SERIES[step]
    fields = make_fields(N)
    names = list(date_names(files, start=start, n=N, step=step))
    for name, field in zip(names, fields, strict=True):
        write_tiff(folder / "archive" / name, field, grid=GRID, nodata=NODATA)
    for year, field in zip((1969, 1970, 1971), make_fields(3, seed=1), strict=True):
        write_tiff(folder / f"archive/people_{year}.tif", field, grid=GRID)
    variables = {
        "rain": {"files": files, "units": "mm month-1", "standard_name": None},
        "people": {"files": "people_{time:%Y}.tif", "units": "1"},
        **dict.fromkeys(("elevation", "land_fraction")),
    }
    archive = {"step": step, "variables": variables}
    split = {
        "train": ["2000", "2009"],
        "validation": ["2011", "2019"],
        "test": ["2021", "2029"],
    }
    return str(
        make_recipe(
            folder,
            archive=archive,
            grid={"like": names[0]},
            covariates=[],
            domain=None,
            split=split,
        )
    )


@pytest.mark.parametrize("step", SERIES)
def test_an_archive_over_the_first_moment_of_1970_is_ingested_in_order(
    tmp_path: Path, step: str
) -> None:
    version = ingest.fn(make_archive_around(tmp_path, step))
    cube = Cube.open(tmp_path / "run/cube.zarr")
    assert cube.version == version
    first = parse_time(SERIES[step][1])
    assert cube.times.tolist() == [cube.step.add(first, n).item() for n in range(N)]
    assert np.datetime64(0, "s") in cube.times[1:]  # not trivial
    np.testing.assert_allclose(cube.read("rain", WHOLE), make_fields(N), rtol=1e-6)
    if step != "year":  # then they are frames as others are
        assert cube.years("people") == [1969, 1970, 1971]


@pytest.mark.parametrize("first", [2, 3, 4])
def test_a_cube_grows_up_to_over_and_from_the_first_moment_of_1970(
    tmp_path: Path, first: int
) -> None:
    recipe = make_archive_around(tmp_path, "month")
    archive = tmp_path / "archive/rain"
    later = sorted(archive.iterdir())[first:]
    for path in later:
        path.rename(tmp_path / path.name)
    ingest.fn(recipe)
    for path in later:
        (tmp_path / path.name).rename(path)
    ingest.fn(recipe)
    cube = Cube.open(tmp_path / "run/cube.zarr")
    np.testing.assert_allclose(cube.read("rain", WHOLE), make_fields(N), rtol=1e-6)
