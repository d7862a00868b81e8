from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from stores.archive import SourceVariable
from stores.cube import Cube
from stores.errors import ArchiveError, CorruptError, GridError
from stores.ingest import commit_cube, prepare_cube
from stores.ingest_plan import plan_ingest
from stores.inventory import scan_archive
from stores.times import Step, parse_time
from tests.make import (
    GRID,
    LAND_GRID,
    RAIN_FILES,
    SHAPE,
    make_archive,
    make_fields,
    make_tiffs,
    write_tiff,
)
from tests.make_ingest import (
    ELEVATION,
    RAIN,
    WHOLE,
    ingest_variables,
    make_plan,
    write_plan,
)


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_an_ingest_with_nothing_new_writes_nothing(tmp_path: Path) -> None:
    make_tiffs(tmp_path / "a", n=3)
    ingest_variables(tmp_path / "a", tmp_path / "run" / "cube.zarr")
    before = _files(tmp_path / "run")
    plan = make_plan(tmp_path / "a", tmp_path / "run" / "cube.zarr")
    assert plan.is_empty
    assert not plan.frames
    assert commit_cube(plan, write_plan(plan)) == plan.base_version
    assert _files(tmp_path / "run") == before


def test_new_months_are_appended_and_the_rest_is_left_alone(tmp_path: Path) -> None:
    paths = make_tiffs(tmp_path / "a", n=7)
    late = [shutil.move(path, tmp_path / path.name) for path in paths[5:]]
    path = tmp_path / "cube.zarr"
    before = ingest_variables(tmp_path / "a", path)
    chunks = {name: old for name, old in _files(path).items() if name.startswith("rain/c/")}
    for file in late:
        shutil.move(file, tmp_path / "a" / "rain")
    plan = make_plan(tmp_path / "a", path)
    assert [frame.key for frame in plan.frames] == ["2000-06", "2000-07"]
    after = ingest_variables(tmp_path / "a", path)
    assert len(before.times) == 5
    assert before.read("rain", WHOLE).shape[0] == 5
    assert after.read("rain", WHOLE).shape[0] == 7
    assert chunks.items() <= _files(path).items()
    whole = ingest_variables(tmp_path / "a", tmp_path / "whole.zarr")
    assert whole.version == after.version != before.version
    np.testing.assert_array_equal(whole.read("rain", WHOLE), after.read("rain", WHOLE))


def test_readers_of_an_open_cube_see_the_old_months_while_it_grows(tmp_path: Path) -> None:
    make_tiffs(tmp_path / "a", n=3)
    path = tmp_path / "cube.zarr"
    cube = ingest_variables(tmp_path / "a", path)
    make_tiffs(tmp_path / "a", n=5)
    plan = make_plan(tmp_path / "a", path)
    receipts = write_plan(plan)
    for opened in (cube, Cube.open(path)):
        assert opened.read("rain", WHOLE).shape[0] == 3
    with xr.open_zarr(path) as dataset:
        assert dataset.sizes["time"] == len(dataset.time.values) == 3
    commit_cube(plan, receipts)
    assert len(Cube.open(path).times) == 5
    assert len(cube.times) == 3
    with xr.open_zarr(path) as dataset:
        assert str(dataset.time.values[-1])[:7] == "2000-05"


def test_a_changed_file_of_a_known_month_is_refused_by_name(tmp_path: Path) -> None:
    paths = make_tiffs(tmp_path / "a", n=3)
    path = tmp_path / "cube.zarr"
    ingest_variables(tmp_path / "a", path)
    before = _files(path)
    write_tiff(paths[1], make_fields(3, seed=9)[1])
    plan = make_plan(tmp_path / "a", path)
    with pytest.raises(ArchiveError, match=r"1 frames .* \(2000-02\).* new root with --root"):
        prepare_cube(plan)
    assert _files(path) == before


def test_a_gap_that_is_filled_later_is_a_change(tmp_path: Path) -> None:
    paths = make_tiffs(tmp_path / "a", n=4)
    kept = shutil.move(paths[1], tmp_path / paths[1].name)
    cube = ingest_variables(tmp_path / "a", tmp_path / "cube.zarr")
    assert np.isnan(cube.read("rain", WHOLE)[1]).all()
    shutil.move(kept, paths[1])
    with pytest.raises(ArchiveError, match="2000-02"):
        prepare_cube(make_plan(tmp_path / "a", tmp_path / "cube.zarr"))


@pytest.mark.parametrize(
    "change", [{"units": "mm d-1"}, {"valid_range": (0, 500)}, {"nodata": 7.0}]
)
def test_reading_a_variable_otherwise_than_before_is_refused(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    make_tiffs(tmp_path / "a", n=2)
    ingest_variables(tmp_path / "a", tmp_path / "cube.zarr")
    fields = {"units": RAIN.units, "valid_range": RAIN.valid_range} | change
    other = SourceVariable("rain", RAIN_FILES, **fields)
    plan = make_plan(tmp_path / "a", tmp_path / "cube.zarr", other)
    with pytest.raises(ArchiveError, match=f"reads it otherwise .*{next(iter(change))} was"):
        plan.check()


def test_units_that_nobody_had_told_can_be_told_later(tmp_path: Path) -> None:
    make_tiffs(tmp_path / "a", n=2)
    path = tmp_path / "cube.zarr"
    before = ingest_variables(tmp_path / "a", path, replace(RAIN, units="1"))
    after = ingest_variables(tmp_path / "a", path, RAIN)
    assert before.version != after.version
    assert after.variables["rain"].units == RAIN.units
    np.testing.assert_array_equal(after.read("rain", WHOLE), before.read("rain", WHOLE))
    plan = make_plan(tmp_path / "a", path, replace(RAIN, units="m"))
    with pytest.raises(ArchiveError, match=r"units was 'mm.*new root: --root FOLDER"):
        plan.check()


def test_another_legend_is_a_new_version_of_the_same_numbers(tmp_path: Path) -> None:
    make_tiffs(tmp_path / "a", n=2)
    before = ingest_variables(tmp_path / "a", tmp_path / "cube.zarr")
    named = SourceVariable("rain", RAIN_FILES, RAIN.units, "rain", valid_range=RAIN.valid_range)
    after = ingest_variables(tmp_path / "a", tmp_path / "cube.zarr", named)
    assert after.version != before.version
    assert after.variables["rain"].long_name == "rain"
    np.testing.assert_array_equal(after.read("rain", WHOLE), before.read("rain", WHOLE))


def test_a_variable_may_join_a_cube_later(tmp_path: Path) -> None:
    make_archive(tmp_path / "a", n=3)
    ingest_variables(tmp_path / "a", tmp_path / "cube.zarr", RAIN)
    plan = make_plan(tmp_path / "a", tmp_path / "cube.zarr", RAIN, ELEVATION)
    assert [(frame.variable, frame.key) for frame in plan.frames] == [("elevation", "static")]
    grown = ingest_variables(tmp_path / "a", tmp_path / "cube.zarr", RAIN, ELEVATION)
    whole = ingest_variables(tmp_path / "a", tmp_path / "whole.zarr", RAIN, ELEVATION)
    assert grown.version == whole.version
    assert np.isfinite(grown.read("elevation", WHOLE)).all()


def test_months_before_the_cube_begins_have_no_place_in_it(tmp_path: Path) -> None:
    make_tiffs(tmp_path / "a", n=3, start="2000-03")
    ingest_variables(tmp_path / "a", tmp_path / "cube.zarr")
    make_tiffs(tmp_path / "a", n=5)
    for path in make_tiffs(tmp_path / "b", n=3, start="2000-03"):
        shutil.copy(path, tmp_path / "a" / "rain")
    with pytest.raises(ArchiveError, match=r"2 frames have no place .*\(2000-01, 2000-02\)"):
        prepare_cube(make_plan(tmp_path / "a", tmp_path / "cube.zarr"))


def test_months_that_leave_a_hole_behind_the_cube_are_refused(tmp_path: Path) -> None:
    make_tiffs(tmp_path / "a", n=2)
    ingest_variables(tmp_path / "a", tmp_path / "cube.zarr")
    make_tiffs(tmp_path / "b", n=2, start="2000-05")
    with pytest.raises(ArchiveError, match=r"2 dates are neither .*\(2000-03, 2000-04\)"):
        prepare_cube(make_plan(tmp_path / "b", tmp_path / "cube.zarr"))


def test_an_archive_that_only_keeps_the_last_months_goes_on_feeding_the_cube(
    tmp_path: Path,
) -> None:
    paths = make_tiffs(tmp_path / "a", n=5)
    for path in paths[3:]:
        path.unlink()
    ingest_variables(tmp_path / "a", tmp_path / "cube.zarr")
    make_tiffs(tmp_path / "a", n=5)
    for path in paths[:2]:
        path.unlink()
    assert len(ingest_variables(tmp_path / "a", tmp_path / "cube.zarr").times) == 5


def test_covariates_may_end_before_and_after_the_target(tmp_path: Path) -> None:
    make_tiffs(tmp_path / "a", n=3)
    make_tiffs(tmp_path / "a", n=5, start="2000-02", files="wind_{time:%Y%m}.tif", seed=1)
    wind = SourceVariable("wind", "wind_{time:%Y%m}.tif", "m s-1")
    path = tmp_path / "cube.zarr"
    cube = ingest_variables(tmp_path / "a", path, RAIN, wind)
    assert [str(time)[:7] for time in cube.step_times("wind")[[0, -1]]] == [
        "2000-02",
        "2000-06",
    ]
    assert len(cube.times) == 6
    assert cube.read("rain", WHOLE).shape[0] == 3
    with pytest.raises(ValueError, match="no frame of 'rain' for 2000-04"):
        cube.read("rain", WHOLE, cube.times[3:4])
    make_tiffs(tmp_path / "a", n=6)
    grown = ingest_variables(tmp_path / "a", path, RAIN, wind)
    whole = ingest_variables(tmp_path / "a", tmp_path / "whole.zarr", RAIN, wind)
    assert grown.version == whole.version
    np.testing.assert_array_equal(grown.read("rain", WHOLE), whole.read("rain", WHOLE))


def test_annual_maps_grow_by_years_and_dates_find_the_map_of_their_year(tmp_path: Path) -> None:
    make_tiffs(tmp_path / "a", n=14)
    cover = SourceVariable("cover", "cover_{time:%Y}.tif", is_classes=True)
    for year in (2000, 2001):
        write_tiff(
            tmp_path / "a" / f"cover_{year}.tif",
            np.full((69, 93), year % 100 + 1, np.uint8),
            grid=LAND_GRID,
        )
    path = tmp_path / "cube.zarr"
    cube = ingest_variables(tmp_path / "a", path, RAIN, cover)
    assert cube.years("cover") == [2000, 2001]
    assert cube.variables["cover"].is_classes
    read = cube.read("cover", WHOLE, cube.times)
    assert read[:, 11, 15].tolist() == [1.0] * 12 + [2.0] * 2
    with pytest.raises(
        ValueError, match=r"no frame of 'cover' for 2005-06; it has 2000 to 2001"
    ):
        cube.read("cover", WHOLE, np.array([parse_time("2005-06")]))
    write_tiff(tmp_path / "a" / "cover_2002.tif", np.full(SHAPE, 9, np.uint8))
    with pytest.raises(ArchiveError, match="cover_2002"):  # on another grid than its sisters
        ingest_variables(tmp_path / "a", path, RAIN, cover)
    write_tiff(
        tmp_path / "a" / "cover_2002.tif", np.full((69, 93), 9, np.uint8), grid=LAND_GRID
    )
    assert ingest_variables(tmp_path / "a", path, RAIN, cover).years("cover") == [
        2000,
        2001,
        2002,
    ]
    with xr.open_zarr(path) as dataset:
        assert dataset.cover.dims == ("year", "y", "x")
        assert dataset.year.values.tolist() == [2000, 2001, 2002]
        assert dataset.cover.attrs["cell_methods"] == "area: mode"


def test_a_recipe_with_another_grid_or_step_cannot_grow_a_cube(tmp_path: Path) -> None:
    make_tiffs(tmp_path / "a", n=2)
    path = tmp_path / "cube.zarr"
    ingest_variables(tmp_path / "a", path)
    moved = GeoBox(SHAPE, GRID.affine @ Affine.translation(0.5, 0), "EPSG:4326")
    with pytest.raises(GridError, match="the recipe's grid lies on another grid"):
        make_plan(tmp_path / "a", path, grid=moved)
    inventory = scan_archive(tmp_path / "a", [RAIN], Step.parse("2 months"))
    with pytest.raises(ArchiveError, match=r"2000-02"):
        plan_ingest(inventory, GRID, path)


def test_a_lost_record_of_inputs_is_found_before_the_cube_grows(tmp_path: Path) -> None:
    make_tiffs(tmp_path / "a", n=2)
    path = tmp_path / "cube.zarr"
    cube = ingest_variables(tmp_path / "a", path)
    record = tmp_path / "cube.inputs" / f"{cube.version}.json"
    record.write_text(record.read_text().replace("2000-01", "1999-01"))
    with pytest.raises(CorruptError, match="does not say what cube"):
        make_plan(tmp_path / "a", path)
