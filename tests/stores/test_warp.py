from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from stores.errors import GridError
from stores.warp import (
    check_overlap,
    is_coarser,
    is_same_grid,
    pick_resampling,
    shift_px,
    warp_onto,
)
from tests.make import GRID, LAND_GRID, SHAPE, make_fields, make_land

RAIN = make_fields(1)[0]
COARSE = GeoBox((7, 9), Affine(0.3, 0, 10.1, 0, -0.3, 49.9), "EPSG:4326")
METERS = GeoBox((19, 23), Affine(9000, 0, 4_300_000, 0, -9000, 2_960_000), "EPSG:3035")


def _with_sea() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.where(make_land(), RAIN, np.float32(np.nan))


def test_the_same_grid_gives_the_same_values() -> None:
    assert warp_onto(RAIN, GRID, GRID, resampling="cubic") is RAIN


def test_grids_apart_by_the_rounding_of_floats_are_one() -> None:
    noisy = Affine(0.1 + 1e-16, 0, 10.0 - 1e-14, 0, -0.1, 50.0)
    assert GeoBox(SHAPE, noisy, "EPSG:4326") != GRID
    assert is_same_grid(GeoBox(SHAPE, noisy, "EPSG:4326"), GRID)
    moved = GeoBox(SHAPE, GRID.affine @ Affine.translation(1e-6, 0), "EPSG:4326")
    assert not is_same_grid(moved, GRID)
    assert shift_px(moved, GRID) == pytest.approx(1e-6, rel=1e-3)


def test_averaging_onto_whole_blocks_is_their_mean_over_valid_pixels() -> None:
    fine = np.kron(np.arange(23 * 31, dtype=np.float32).reshape(23, 31), np.ones((3, 3)))
    fine = fine.astype(np.float32)
    fine[::3] += 3
    fine[0:3, 0:3] = np.nan
    fine[3:6, 0:3] = np.nan
    fine[3, 0] = 7
    warped = warp_onto(fine, LAND_GRID, GRID, resampling="average")
    expected = np.arange(23 * 31).reshape(23, 31) + 1.0
    expected[0, 0] = np.nan
    expected[1, 0] = 7
    np.testing.assert_allclose(warped, expected, rtol=1e-5)


@pytest.mark.parametrize("target", [COARSE, METERS, LAND_GRID])
@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "average", "mode"])
def test_nodata_never_bleeds_into_values(target: GeoBox, resampling: str) -> None:
    values = _with_sea()
    warped = warp_onto(values, GRID, target, resampling=resampling)
    assert np.isfinite(warped).any()
    assert np.isnan(warped).any()
    slack = 1e-3  # float32 weights
    assert np.nanmin(warped) >= np.nanmin(values) - slack
    assert np.nanmax(warped) <= np.nanmax(values) + slack


def test_what_lies_outside_the_source_is_invalid() -> None:
    wide = GeoBox((43, 51), GRID.affine @ Affine.translation(-10, -10), "EPSG:4326")
    warped = warp_onto(RAIN, GRID, wide, resampling="nearest")
    np.testing.assert_array_equal(warped[10:33, 10:41], RAIN)
    warped[10:33, 10:41] = np.nan
    assert np.isnan(warped).all()


def test_classes_stay_classes_on_any_grid() -> None:
    classes = (RAIN.astype(int) % 5 * 10).astype(np.float32)
    for target in (COARSE, METERS, LAND_GRID):
        method = pick_resampling("auto", GRID, target, is_classes=True)
        warped = warp_onto(classes, GRID, target, resampling=method)
        assert set(np.unique(warped[np.isfinite(warped)])) <= set(np.unique(classes))


def test_the_method_follows_which_grid_is_coarser() -> None:
    assert is_coarser(COARSE, GRID)
    assert is_coarser(METERS, LAND_GRID)
    assert not is_coarser(GRID, COARSE)
    assert not is_coarser(GRID, GRID)
    assert pick_resampling("auto", GRID, COARSE, is_classes=False) == "average"
    assert pick_resampling("auto", GRID, COARSE, is_classes=True) == "mode"
    assert pick_resampling("auto", COARSE, GRID, is_classes=False) == "bilinear"
    assert pick_resampling("auto", COARSE, GRID, is_classes=True) == "nearest"
    assert pick_resampling("cubic", GRID, COARSE, is_classes=False) == "cubic"


def test_averaging_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="'bilinear' would mix classes"):
        pick_resampling("bilinear", GRID, COARSE, is_classes=True)
    with pytest.raises(ValueError, match="'lanczos' is unknown"):
        pick_resampling("lanczos", GRID, COARSE, is_classes=False)


def test_a_source_that_does_not_meet_the_grid_is_refused() -> None:
    away = GeoBox(SHAPE, Affine(0.1, 0, -70.0, 0, -0.1, -8.0), "EPSG:4326")
    with pytest.raises(GridError, match=r"the map lies at .* does not meet the cube's grid"):
        check_overlap(away, GRID, what="the map")
    check_overlap(METERS, GRID, what="the map")
