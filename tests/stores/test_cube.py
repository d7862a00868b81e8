from __future__ import annotations

import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from pipeline.recipes import load_recipe
from stores.archive import SourceVariable
from stores.cube import Cube
from stores.errors import CorruptError
from stores.ingest import commit_cube, prepare_cube, write_frame
from stores.ingest_plan import plan_ingest
from stores.inventory import scan_archive
from stores.times import Step, parse_time
from stores.windows import Window
from tests.make import GRID, RAIN_FILES, SHAPE, make_archive, make_cube, make_land, sources_of
from tests.make_ingest import read_whole

WHOLE = Window.from_shape(SHAPE)
SAMPLE = Path(__file__).parents[2] / "deploy" / "recipes" / "rainfall-java.yaml"


def test_windows_and_dates_are_read_as_from_the_whole(tmp_path: Path) -> None:
    cube = Cube.open(make_cube(tmp_path))
    whole = cube.read("rain", WHOLE)
    assert whole.dtype == np.float32
    assert whole.shape == (96, *SHAPE)
    window = Window(3, 17, 5, 29)
    np.testing.assert_array_equal(cube.read("rain", window), whole[:, *window.slices])
    for indices in ([4, 5, 6, 7], [95], [7, 3, 3, 90], []):
        read = cube.read("rain", window, cube.times[indices])
        np.testing.assert_array_equal(read, whole[indices][:, *window.slices])
    static = cube.read("elevation", window)
    np.testing.assert_array_equal(static, cube.read("elevation", WHOLE)[window.slices])


def test_invalid_pixels_are_nan_and_nothing_else_is(tmp_path: Path) -> None:
    cube = Cube.open(make_cube(tmp_path))
    valid = np.isfinite(cube.read("rain", WHOLE))
    assert (valid == make_land()).all()


def test_a_date_the_cube_does_not_have_is_named(tmp_path: Path) -> None:
    cube = Cube.open(make_cube(tmp_path))
    times = np.array([parse_time("2007-12"), parse_time("2008-01")])
    with pytest.raises(ValueError, match="no frame of 'rain' for 2008-01; it has 2000-01"):
        cube.read("rain", WHOLE, times)


def test_a_window_that_leaves_the_grid_is_refused(tmp_path: Path) -> None:
    cube = Cube.open(make_cube(tmp_path))
    with pytest.raises(ValueError, match=r"y\[-1:24\] x\[-1:32\] leaves the cube's grid"):
        cube.read("rain", WHOLE.grow(1))


def test_an_unknown_variable_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    cube = Cube.open(make_cube(tmp_path))
    with pytest.raises(KeyError, match="no variable 'snow'; it has rain, elevation"):
        cube.read("snow", WHOLE)
    with pytest.raises(ValueError, match="'rain' is not annual"):
        cube.years("rain")


def test_where_there_is_no_cube_the_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(CorruptError, match="holds no finished Zarr group"):
        Cube.open(tmp_path / "cube.zarr")


def test_a_lost_chunk_is_an_error_and_never_a_nan(tmp_path: Path) -> None:
    path = make_cube(tmp_path)
    cube = Cube.open(path)
    (path / "rain" / "c" / "7" / "0" / "0").unlink()
    with pytest.raises(CorruptError, match=r"lacks rain/c/7/0/0"):
        cube.read("rain", WHOLE, cube.times[5:9])
    assert cube.read("rain", WHOLE, cube.times[8:20]).shape[0] == 12


def test_a_flipped_bit_is_an_error_and_never_a_value(tmp_path: Path) -> None:
    path = make_cube(tmp_path)
    victim = path / "rain" / "c" / "7" / "0" / "0"
    broken = bytearray(victim.read_bytes())
    broken[len(broken) // 2] ^= 16
    victim.write_bytes(broken)
    cube = Cube.open(path)
    with pytest.raises(CorruptError, match=r"rain of cube .* its bytes were altered"):
        cube.read("rain", WHOLE, cube.times[7:8])


def test_many_threads_read_what_one_reads(tmp_path: Path) -> None:
    cube = Cube.open(make_cube(tmp_path))
    whole = cube.read("rain", WHOLE)
    windows = list(WHOLE.blocks(7, 11)) * 3
    with ThreadPoolExecutor(8) as pool:
        for window, read in zip(
            windows, pool.map(partial(cube.read, "rain"), windows), strict=True
        ):
            np.testing.assert_array_equal(read, whole[:, *window.slices])


def test_frames_written_by_many_processes_make_the_same_cube(tmp_path: Path) -> None:
    inventory = scan_archive(
        make_archive(tmp_path / "archive", n=9),
        [SourceVariable("rain", RAIN_FILES), SourceVariable("land", "land.tif")],
        Step.parse("month"),
    )
    plan, alone = (plan_ingest(inventory, GRID, tmp_path / f"{n}.zarr") for n in "ab")
    for one in (plan, alone):
        prepare_cube(one)
    variables, keys = zip(*((frame.variable, frame.key) for frame in plan.frames), strict=True)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        receipts = list(pool.map(partial(write_frame, plan.path), variables, keys))
    commit_cube(plan, receipts)
    commit_cube(
        alone, [write_frame(alone, *names) for names in zip(variables, keys, strict=True)]
    )
    cube = Cube.open(plan.path)
    other = Cube.open(alone.path)
    assert cube.version == other.version
    np.testing.assert_array_equal(cube.read("rain", WHOLE), other.read("rain", WHOLE))


def test_analysts_open_a_cube_with_xarray_alone(tmp_path: Path) -> None:
    path = make_cube(tmp_path)
    with xr.open_zarr(path) as dataset, warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)  # rioxarray and affine 3
        import rioxarray  # noqa: F401

        assert dataset.rain.dims == ("time", "y", "x")
        assert dataset.rain.attrs["units"] == "mm month-1"
        assert str(dataset.time.values[0])[:10] == "2000-01-01"
        assert dataset.attrs["Conventions"] == "CF-1.11, ACDD-1.3"
        assert "version" in dataset.attrs["history"]
        assert dataset.rio.crs.to_epsg() == 4326
        assert list(dataset.rain.rio.transform())[:6] == pytest.approx(list(GRID.affine)[:6])
        np.testing.assert_array_equal(np.isfinite(dataset.rain[0].values), make_land())


def test_the_sample_archive_becomes_a_cube(tmp_path: Path) -> None:
    recipe = load_recipe(SAMPLE)
    sources = sources_of(recipe)
    inventory = scan_archive(
        recipe.archive.root, sources, recipe.step, end=parse_time("2003-12")
    )
    inventory.check()
    grid = inventory.series["precipitation"].grid
    assert grid is not None
    plan = plan_ingest(inventory, grid, tmp_path / "cube.zarr")
    prepare_cube(plan)
    commit_cube(plan, [write_frame(plan, f.variable, f.key) for f in plan.frames])
    cube = Cube.open(plan.path)
    whole = Window.from_shape((75, 224))
    rain = cube.read("precipitation", whole)
    first = recipe.archive.root / "rainfall" / "java_chirps-v2.0.2003.01.tif"
    np.testing.assert_array_equal(rain[0], read_whole(first, sources[0])[0])
    assert rain.shape == (12, 75, 224)
    assert np.isnan(rain).mean() == pytest.approx(0.7079, abs=1e-3)
    land = cube.read("land_fraction", whole)
    assert 0 == land.min() < land.max() == 1
    assert ((land > 0) & (land < 1)).any()
    valid = np.isfinite(rain[0])
    assert land[valid].mean() > 0.85 > 0.15 > land[~valid].mean()
    elevation = cube.read("elevation", whole)
    assert elevation[valid].mean() > 100 > -100 > elevation[~valid].mean()


def test_versions_are_equal_exactly_when_the_archives_are(tmp_path: Path) -> None:
    versions = []
    for index, seed in enumerate((0, 1, 0)):
        root = make_archive(tmp_path / str(index), n=2, seed=seed)
        sources = [SourceVariable("rain", RAIN_FILES)]
        inventory = scan_archive(root, sources, Step.parse("month"))
        versions.append(plan_ingest(inventory, GRID, root / "cube.zarr").version)
    assert versions[0] == versions[2] != versions[1]
