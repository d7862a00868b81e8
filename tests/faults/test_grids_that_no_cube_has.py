"""What a grid or a header promises is judged before a block is read or a byte is written."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine

from flows.check import check
from flows.ingest import ingest
from pipeline.memory import peak_rss_bytes, reset_peak_rss, rss_bytes
from stores import geotiff
from tests.make import GRID, NODATA, SHAPE, make_fields, make_recipe, make_tiffs, write_tiff
from tests.make_rasters import write_sparse

CRS = str(GRID.crs)
TRANSFORM = list(GRID.affine)[:6]
GRIDS: dict[str, dict[str, Any]] = {
    "rotated": {"transform": [0.1, 0.02, 10.0, 0.02, -0.1, 50.0]},
    "sheared": {"transform": [0.1, 0.02, 10.0, 0.0, -0.1, 50.0]},
    "no width": {"transform": [0.0, 0.0, 10.0, 0.0, -0.1, 50.0]},
    "no height": {"transform": [0.1, 0.0, 10.0, 0.0, 0.0, 50.0]},
    "no place": {"transform": [0.1, 0.0, float("inf"), 0.0, -0.1, 50.0]},
    "no rows": {"shape": [0, 31]},
    "too wide": {"shape": [23, 2_000_000_000]},
    "no CRS": {"crs": "EPSG:999999"},
    "another world": {"crs": "EPSG:3857"},
    "beyond the poles": {"transform": [1e7, 0.0, 1e9, 0.0, -1e7, 1e9]},
}


def refuse(recipe: str, message: str, folder: Path) -> None:
    """See that ``check`` and ``ingest`` refuse a recipe, and write nothing."""
    for work in (lambda: check(recipe, [], None), lambda: ingest.fn(recipe)):
        with pytest.raises(ValueError, match=message):
            work()
    assert not (folder / "run").exists()


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where a block is read."""

    def fail(*_: object) -> None:
        pytest.fail("a block was read")

    monkeypatch.setattr(geotiff.Band, "_read_classified", fail)


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("name", GRIDS)
def test_a_stated_grid_that_no_cube_can_have_is_refused_before_a_file_is_read(
    tmp_path: Path, name: str
) -> None:
    stated = {"like": None, "crs": CRS, "transform": TRANSFORM, "shape": list(SHAPE)}
    recipe = make_recipe(tmp_path, grid=stated | GRIDS[name])
    refuse(str(recipe), "grid", tmp_path)


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("turn", [Affine.rotation(30), Affine.shear(20), Affine.rotation(90)])
def test_a_reference_raster_that_is_rotated_is_refused_by_its_name(
    tmp_path: Path, turn: Affine
) -> None:
    recipe = make_recipe(tmp_path)
    path = tmp_path / "archive/rain/rain_2000.01.tif"
    write_tiff(path, make_fields(1)[0], transform=GRID.affine @ turn)
    refuse(str(recipe), r"rain_2000\.01\.tif is rotated or sheared .*gdalwarp", tmp_path)


@pytest.mark.usefixtures("unread")
def test_an_archive_of_another_place_is_refused_before_it_is_read(tmp_path: Path) -> None:
    moved = [0.1, 0.0, 110.0, 0.0, -0.1, 50.0]
    grid = {"like": None, "crs": CRS, "transform": moved, "shape": list(SHAPE)}
    recipe = make_recipe(tmp_path, grid=grid)
    refuse(str(recipe), r"'rain' lies at .* does not meet the cube's grid", tmp_path)


@pytest.mark.usefixtures("unread")
def test_a_source_far_finer_than_the_cube_is_refused_with_the_limit_and_a_way_out(
    tmp_path: Path,
) -> None:
    coarse = [31 * 0.1, 0.0, 10.0, 0.0, -23 * 0.1, 50.0]
    grid = {"like": None, "crs": CRS, "transform": coarse, "shape": [1, 1]}
    recipe = make_recipe(tmp_path, grid=grid)
    fine = GRID.zoom_out(1 / 60)
    values = np.zeros(fine.shape, dtype=np.uint8)
    write_tiff(tmp_path / "archive/land.tif", values, grid=fine)
    message = (
        r"'land_fraction' lies at .* 2\.57e\+06 px for each .* at most 1,000,000.*coarsen it"
    )
    refuse(str(recipe), message, tmp_path)


@pytest.mark.parametrize("name", ["elevation.tif", "rain/rain_2000.02.tif"])
@pytest.mark.parametrize("side", [30_000, pytest.param(200_000, marks=pytest.mark.slow)])
def test_a_small_file_that_declares_many_pixels_is_refused_at_once(
    tmp_path: Path, name: str, side: int
) -> None:
    make_tiffs(tmp_path / "archive", n=3)
    for other in ("elevation.tif", "land.tif"):
        write_tiff(tmp_path / "archive" / other, make_fields(1)[0], nodata=NODATA)
    recipe = str(make_recipe(tmp_path))
    path = write_sparse(tmp_path / "archive" / name, side)
    assert path.stat().st_size < side * side / 4000  # not trivial
    reset_peak_rss()
    rss_before = rss_bytes()
    began_s = time.process_time()
    message = (
        rf"{path.name} declares {side} x {side} px but holds \d+ bytes .*at most 1000.*gdalwarp"
    )
    refuse(recipe, message, tmp_path)
    assert time.process_time() - began_s < 2 * 2
    assert peak_rss_bytes() - rss_before < 500e6
