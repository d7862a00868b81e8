from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from stores import regrid as module
from stores.regrid import Regridder, crop
from stores.warp import warp_onto
from stores.windows import Window
from tests.make import GRID, Field, make_fields, make_land

SOURCE = GeoBox((61, 83), Affine(0.05, 0, 9.9, 0, -0.05, 50.1), "EPSG:4326")
TARGETS = {
    "same CRS, finer": GeoBox((67, 71), Affine(0.033, 0, 10, 0, -0.033, 50), "EPSG:4326"),
    "same CRS, coarser": GeoBox((41, 43), Affine(0.11, 0, 9.7, 0, -0.11, 50.4), "EPSG:4326"),
    "meters": GeoBox((59, 61), Affine(4000, 0, 4_240_000, 0, -4000, 3_010_000), "EPSG:3035"),
    "rows run north": GeoBox((47, 53), Affine(0.07, 0, 9.8, 0, 0.07, 47), "EPSG:4326"),
    "UTM": GeoBox((53, 59), Affine(5000, 0, 560_000, 0, -5000, 5_560_000), "EPSG:32632"),
}
METHODS = ["nearest", "bilinear", "cubic", "average", "mode"]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LARGEST_SIDE", 32)


def make_frame(shape: tuple[int, int]) -> Field:
    field = np.round(make_fields(1, shape)[0])
    return np.where(make_land(shape), field, np.float32(np.nan))


FRAME = make_frame((61, 83))


def read(window: Window) -> Field:
    """Read the source as a file would give it: its part and no more."""
    assert Window.from_shape((61, 83)).contains(window)
    return np.ascontiguousarray(FRAME[window.slices])


def whole_of(target: GeoBox) -> Window:
    return Window.from_shape((target.height, target.width))


@settings(max_examples=25)
@given(
    name=st.sampled_from(sorted(TARGETS)),
    method=st.sampled_from(METHODS),
    height=st.integers(13, 70),
    width=st.integers(13, 70),
)
def test_windows_of_any_size_equal_the_whole(
    name: str, method: str, height: int, width: int
) -> None:
    target = TARGETS[name]
    regrid = Regridder(SOURCE, target, method)
    whole = regrid.read(read, whole_of(target))
    pieces = np.zeros_like(whole)
    for window in whole_of(target).blocks(height, width):
        pieces[window.slices] = regrid.read(read, window)
    np.testing.assert_array_equal(pieces, whole)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["same CRS, finer", "same CRS, coarser", "rows run north"])
def test_blocks_equal_one_warp_of_the_whole_image(name: str, method: str) -> None:
    target = TARGETS[name]
    regrid = Regridder(SOURCE, target, method)
    assert whole_of(target).size > regrid.block_side**2
    blocks = regrid.read(read, whole_of(target))
    direct = warp_onto(FRAME, SOURCE, target, resampling=method, scale=regrid._scale)
    assert np.isfinite(direct).any()
    np.testing.assert_allclose(blocks, direct, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["meters", "UTM"])
def test_another_crs_moves_values_by_less_than_gdal_promises(name: str, method: str) -> None:
    # GDAL may misplace a pixel by 1/8 px, in a block as in the whole, so both move by 1/4.
    target = TARGETS[name]
    slope = np.add.outer(np.arange(61.0), 2 * np.arange(83.0)).astype(np.float32)
    regrid = Regridder(SOURCE, target, method)
    blocks = regrid.read(lambda window: slope[window.slices].copy(), whole_of(target))
    direct = warp_onto(slope, SOURCE, target, resampling=method, scale=regrid._scale)
    both = np.isfinite(blocks) & np.isfinite(direct)
    assert both.mean() > 0.5
    assert (np.isfinite(blocks) != np.isfinite(direct)).mean() < 0.01
    step = 3 if method in ("nearest", "mode") else 3 * 0.25 + 0.01
    assert np.abs(blocks - direct)[both].max() <= step


def test_a_block_reads_its_part_of_the_source_and_the_halo() -> None:
    target = TARGETS["meters"]
    sizes: list[int] = []

    def watched(window: Window) -> Field:
        sizes.append(window.size)
        return read(window)

    Regridder(SOURCE, target, "cubic").read(watched, whole_of(target))
    assert len(sizes) > 2
    assert max(sizes) < FRAME.size / 2


def test_a_target_beside_the_source_reads_nothing() -> None:
    apart = GeoBox((40, 40), Affine(0.05, 0, 40, 0, -0.05, 50), "EPSG:4326")
    values = Regridder(SOURCE, apart, "bilinear").read(_refuse, whole_of(apart))
    assert np.isnan(values).all()


def test_longitudes_of_a_whole_circle_are_found_from_both_sides() -> None:
    globe = GeoBox((60, 120), Affine(3, 0, 0, 0, -3, 90), "EPSG:4326")
    west = GeoBox((40, 40), Affine(1, 0, -30, 0, -1, 60), "EPSG:4326")
    frame = np.tile(np.arange(120, dtype=np.float32), (60, 1))
    values = Regridder(globe, west, "nearest").read(
        lambda window: frame[window.slices].copy(), whole_of(west)
    )
    direct = warp_onto(frame, globe, west, resampling="nearest")
    np.testing.assert_array_equal(values, direct)


def test_a_crop_of_a_grid_lies_where_the_grid_lies() -> None:
    assert crop(GRID, Window.from_shape((23, 31))) == GRID
    assert crop(GRID, Window(2, 5, 3, 9)).affine == GRID.affine @ Affine.translation(3, 2)


def _refuse(window: Window) -> Field:
    raise AssertionError(f"{window} was read")
