from __future__ import annotations

import errno
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from affine import Affine
from odc.geo.geobox import GeoBox

from stores import ingest_plan
from stores.archive import SourceVariable
from stores.cube import Cube
from stores.errors import ArchiveError, CorruptError, GridError
from stores.gdal import CACHE_BYTES
from stores.ingest import commit_cube, prepare_cube, write_frame
from stores.ingest_plan import task_bytes
from stores.layout import Layout, plan_layout
from stores.warp import pick_resampling, warp_onto
from stores.windows import Window
from tests.make import (
    GRID,
    LAND_GRID,
    SHAPE,
    make_archive,
    make_fields,
    make_land,
    make_tiffs,
    write_tiff,
)
from tests.make_ingest import (
    ELEVATION,
    LAND,
    RAIN,
    WHOLE,
    ingest_variables,
    make_plan,
    read_whole,
    write_plan,
)


def test_a_cube_holds_what_the_files_hold(tmp_path: Path) -> None:
    paths = make_tiffs(tmp_path / "a", n=5)
    cube = ingest_variables(tmp_path / "a", tmp_path / "cube.zarr")
    read = cube.read("rain", WHOLE)
    assert read.shape == (5, *SHAPE)
    assert 0 < np.isnan(read).mean() < 1
    for frame, path in zip(read, paths, strict=True):
        np.testing.assert_array_equal(frame, read_whole(path, RAIN)[0])


def test_other_grids_are_warped_onto_the_one_of_the_cube(tmp_path: Path) -> None:
    make_archive(tmp_path / "a", n=2)
    cube = ingest_variables(tmp_path / "a", tmp_path / "cube.zarr", RAIN, ELEVATION, LAND)
    np.testing.assert_array_equal(cube.read("land", WHOLE) > 0.5, make_land())
    assert np.isfinite(cube.read("elevation", WHOLE)).all()
    with xr.open_zarr(tmp_path / "cube.zarr") as dataset:
        assert dataset.land.attrs["cell_methods"] == "area: mean"
        assert dataset.elevation.attrs["standard_name"] == "surface_altitude"


def test_accepted_gaps_are_written_as_frames_without_a_valid_pixel(tmp_path: Path) -> None:
    paths = make_tiffs(tmp_path / "a", n=5)
    paths[1].unlink()
    paths[2].write_bytes(paths[2].read_bytes()[:-300])
    write_tiff(paths[3], np.full(SHAPE, np.nan, dtype=np.float32), nodata=-9999.0)
    plan = make_plan(tmp_path / "a", tmp_path / "cube.zarr")
    receipts = write_plan(plan)
    commit_cube(plan, receipts)
    assert plan.rows()[0]["gaps"] == "3"
    assert [receipt.valid for receipt in receipts[1:4]] == [0, 0, 0]
    assert [receipt.digest for receipt in receipts[1:4]] == ["gap"] * 3
    read = Cube.open(tmp_path / "cube.zarr").read("rain", WHOLE)
    assert np.isnan(read[1:4]).all()
    assert np.isfinite(read[[0, 4]]).any(axis=(1, 2)).all()


def test_receipts_count_what_is_valid_and_what_was_refused(tmp_path: Path) -> None:
    (path,) = make_tiffs(tmp_path / "a", n=1)
    field = make_fields(1)[0]
    field[0, :2] = 9999, np.inf
    write_tiff(path, field)
    (receipt,) = write_plan(make_plan(tmp_path / "a", tmp_path / "cube.zarr"))
    assert (receipt.outside, receipt.infinite) == (1, 1)
    assert (receipt.valid, receipt.invalid) == (23 * 31 - 2, 2)


def test_a_commit_without_all_frames_is_refused_and_nothing_appears(tmp_path: Path) -> None:
    make_tiffs(tmp_path / "a", n=3)
    plan = make_plan(tmp_path / "a", tmp_path / "cube.zarr")
    receipts = write_plan(plan)
    with pytest.raises(ValueError, match=r"1 frames .* not written \(rain 2000-02\)"):
        commit_cube(plan, [receipts[0], receipts[2]])
    with pytest.raises(CorruptError):
        Cube.open(tmp_path / "cube.zarr")


def test_a_file_that_changes_after_the_inventory_is_refused(tmp_path: Path) -> None:
    paths = make_tiffs(tmp_path / "a", n=2)
    plan = make_plan(tmp_path / "a", tmp_path / "cube.zarr")
    write_tiff(paths[0], make_fields(1, seed=5)[0])
    prepare_cube(plan)
    with pytest.raises(ArchiveError, match="has changed since the inventory"):
        write_frame(plan, "rain", "2000-01")


def test_a_raster_off_the_grid_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    make_tiffs(tmp_path / "a", n=2)
    away = GeoBox(SHAPE, Affine(0.1, 0, -70.0, 0, -0.1, -8.0), "EPSG:4326")
    with pytest.raises(GridError, match=r"variable 'rain' lies at .* does not meet"):
        make_plan(tmp_path / "a", tmp_path / "run" / "cube.zarr", grid=away)
    assert not (tmp_path / "run").exists()


def test_an_archive_of_maps_alone_has_no_time_axis(tmp_path: Path) -> None:
    make_archive(tmp_path / "a", n=1)
    with pytest.raises(ArchiveError, match="no variable has a file per step"):
        make_plan(tmp_path / "a", tmp_path / "cube.zarr", ELEVATION)


def test_frames_larger_than_a_shard_are_written_by_their_owner_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = GeoBox((71, 97), GRID.affine, "EPSG:4326")
    paths = make_tiffs(tmp_path / "a", n=2, grid=grid)
    small = partial(plan_layout, chunk_bytes=256, shard_bytes=4096)
    monkeypatch.setattr(ingest_plan, "plan_layout", small)
    plan = make_plan(tmp_path / "a", tmp_path / "cube.zarr", grid=grid)
    assert plan.layout.chunk == (1, 16, 16)
    assert plan.n_shards == 3 * 4 * len(plan.frames)
    commit_cube(plan, write_plan(plan))
    cube = Cube.open(tmp_path / "cube.zarr")
    whole = cube.read("rain", Window.from_shape((71, 97)))
    for frame, path in zip(whole, paths, strict=True):
        np.testing.assert_array_equal(frame, read_whole(path, RAIN)[0])
    for window in (Window(5, 19, 7, 30), Window(31, 33, 0, 97), Window(70, 71, 96, 97)):
        np.testing.assert_array_equal(cube.read("rain", window), whole[:, *window.slices])


def test_a_frame_that_cannot_be_read_names_its_file_and_date(tmp_path: Path) -> None:
    paths = make_tiffs(tmp_path / "a", n=3)
    plan = make_plan(tmp_path / "a", tmp_path / "cube.zarr")
    prepare_cube(plan)
    content = paths[1].read_bytes()
    paths[1].write_bytes(content[: len(content) // 2])
    with pytest.raises(ArchiveError, match=r"rain 2000-02 of rain/rain_2000\.02\.tif: "):
        write_frame(plan.path, "rain", "2000-02")


def test_a_disk_that_fails_names_file_and_date_and_stays_an_error_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:  # injected: a full disk cannot be had in a test
        raise OSError(errno.ENOSPC, "No space left on device", "c/0/0/0")

    make_tiffs(tmp_path / "a", n=1)
    plan = make_plan(tmp_path / "a", tmp_path / "cube.zarr")
    prepare_cube(plan)
    monkeypatch.setattr("stores.ingest_frame.write_block", full)
    with pytest.raises(OSError, match=r"rain 2000-01 of rain/.*: No space left") as raised:
        write_frame(plan.path, "rain", "2000-01")
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, "c/0/0/0")


def test_a_task_holds_a_shard_whatever_the_raster() -> None:
    small, large = (task_bytes(plan_layout((side,) * 2), side**2) for side in (4096, 40_960))
    assert small == large
    assert task_bytes(plan_layout((75, 224)), 75 * 224) < 2 << 20
    shard = 4 * 4096**2
    assert 2 * shard < small - CACHE_BYTES < 6 * shard


@pytest.mark.parametrize("source", [RAIN, ELEVATION, LAND])
def test_windows_write_the_bytes_that_a_whole_frame_writes(
    source: SourceVariable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stores.geotiff.READ_PX", 100)
    archive = make_archive(tmp_path / "a", n=1)
    variables = {RAIN, source}
    planned = make_plan(archive, tmp_path / "cube.zarr", *variables)
    plan = replace(planned, layout=Layout((1, 4, 4), (1, 8, 12)))
    assert plan.n_shards > 2 * len(plan.frames)
    commit_cube(plan, write_plan(plan))
    frame = next(f for f in plan.frames if f.variable == source.name)
    values, grid, _ = read_whole(archive / str(frame.file), source)
    method = pick_resampling(source.resampling, grid, GRID, is_classes=False)
    whole = warp_onto(values, grid, GRID, resampling=method)
    folder = plan.path / source.name
    before = {file: file.read_bytes() for file in (folder / "c").rglob("*") if file.is_file()}
    array = zarr.open_array(folder, mode="r+").with_config({"write_empty_chunks": True})
    array[...] = whole if frame.index is None else whole[None]
    assert len(before) == 9
    assert {file: file.read_bytes() for file in before} == before


def test_a_share_of_classes_is_averaged_and_codes_never_are(tmp_path: Path) -> None:
    codes = np.tile(np.array([[12, 14, 5], [13, 12, 13], [5, 255, 255]], np.uint8), SHAPE)
    write_tiff(tmp_path / "cover.tif", codes, grid=LAND_GRID, nodata=255)
    make_tiffs(tmp_path, n=1)
    crops = SourceVariable("crops", "cover.tif", share_of=(12, 14))
    cube = ingest_variables(tmp_path, tmp_path / "cube.zarr", RAIN, crops)
    np.testing.assert_allclose(cube.read("crops", WHOLE), 3 / 7, atol=1e-6)
    other = make_plan(tmp_path, tmp_path / "new.zarr", RAIN, replace(crops, share_of=(12,)))
    assert other.version != cube.version  # other codes are another variable
