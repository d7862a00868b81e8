from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from stores import grid as grids
from stores.errors import GridError
from tests.make import GRID, write_tiff

number = st.floats(-1e6, 1e6, allow_nan=False).filter(lambda value: abs(value) > 1e-6)
boxes = st.builds(
    lambda shape, a, c, e, f, crs: GeoBox(shape, Affine(a, 0, c, 0, e, f), crs),
    st.tuples(st.integers(1, 97), st.integers(1, 97)),
    number,
    number,
    number,
    number,
    st.sampled_from(["EPSG:4326", "EPSG:3035", "EPSG:3067"]),
)


@given(boxes)
def test_a_grid_survives_json_exactly(grid: GeoBox) -> None:
    back = grids.from_json(json.loads(json.dumps(grids.to_json(grid))))
    assert back == grid
    assert grids.grid_fingerprint(back) == grids.grid_fingerprint(grid)


@given(boxes, boxes)
def test_fingerprints_are_equal_exactly_when_grids_are(one: GeoBox, other: GeoBox) -> None:
    assert (grids.grid_fingerprint(one) == grids.grid_fingerprint(other)) == (one == other)


def test_the_grid_of_a_file_is_that_with_which_it_was_written(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", np.zeros((23, 31), dtype=np.float32))
    assert grids.read_grid(path) == GRID
    assert (
        grids.describe_grid(GRID)
        == "23 x 31 px of 0.1 x 0.1 degree, EPSG:4326, corner (10, 50)"
    )


def test_a_grid_a_millionth_of_a_pixel_away_is_another(tmp_path: Path) -> None:
    moved = GeoBox(GRID.shape, GRID.affine @ Affine.translation(1e-6, 0), GRID.crs)
    assert grids.grid_fingerprint(moved) != grids.grid_fingerprint(GRID)
    with pytest.raises(GridError, match=r"the map lies on another grid .* so its pixels would"):
        grids.check_same_grid(moved, GRID, what="the map", hint="warp it")


def test_one_crs_in_two_spellings_gives_one_grid() -> None:
    assert GRID.crs is not None
    spelled = GeoBox(GRID.shape, GRID.affine, GRID.crs.to_wkt())
    assert spelled == GRID
    assert grids.grid_fingerprint(spelled) == grids.grid_fingerprint(GRID)


def test_centers_lie_half_a_pixel_inside_the_corner() -> None:
    ys, xs = grids.pixel_centers(GRID)
    assert (ys[0], xs[0]) == pytest.approx((49.95, 10.05))
    assert (len(ys), len(xs)) == (23, 31)


def test_a_rotated_grid_has_no_coordinates() -> None:
    rotated = GeoBox((3, 3), Affine.rotation(10), "EPSG:3035")
    with pytest.raises(GridError, match="is rotated"):
        grids.pixel_centers(rotated)


def test_a_grid_without_a_crs_is_refused() -> None:
    with pytest.raises(GridError, match="no CRS"):
        grids.describe_grid(GeoBox((3, 3), Affine.identity(), None))


def test_coordinates_in_feet_are_not_called_meters() -> None:
    feet = GeoBox((2, 2), Affine(1000, 0, 0, 0, -1000, 0), "EPSG:2263")
    units = {cf["units"] for _, cf in grids.cf_coordinates(feet).values()}
    assert units == {"0.30480060960121924 m"}
    meters = GeoBox((2, 2), Affine(1000, 0, 0, 0, -1000, 0), "EPSG:3035")
    assert {cf["units"] for _, cf in grids.cf_coordinates(meters).values()} == {"m"}


@pytest.mark.parametrize("crs", ["EPSG:0", "nonsense", "+proj=nothing"])
def test_a_crs_that_is_none_is_refused_in_a_sentence(crs: str) -> None:
    with pytest.raises(GridError, match=r"is no coordinate reference system .* EPSG:4326"):
        grids.build_grid(crs, [1, 0, 0, 0, -1, 0], (3, 3))


def test_a_grid_of_degrees_ends_at_the_poles() -> None:
    grids.check_latitudes(grids.build_grid("EPSG:4326", [1, 0, 0, 0, -1, 90.5], (181, 3)))
    grids.check_latitudes(grids.build_grid("EPSG:3035", [1, 0, 0, 0, -1, 3e6], (3, 3)))
    with pytest.raises(GridError, match=r"from latitude 2\.997e\+06 to 3e\+06"):
        grids.check_latitudes(
            grids.build_grid("EPSG:4326", [1000, 0, 0, 0, -1000, 3e6], (3, 3))
        )


def test_a_reference_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(GridError, match=r"nothing\.tif is no file.* grid\.like"):
        grids.read_grid(tmp_path / "nothing.tif")
