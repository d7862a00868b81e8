import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tiling.tiles import count_tiles, plan_tiles, tile_read_shape
from stores.windows import Window

side = st.integers(1, 97)
halos = st.integers(0, 23)
strides = st.sampled_from([1, 2, 3, 4, 8])


@given(height=side, width=side, core=side, halo=halos, stride=strides)
def test_tiles_own_every_pixel_exactly_once(
    height: int, width: int, core: int, halo: int, stride: int
) -> None:
    owners = np.zeros((height, width), dtype=int)
    for tile in plan_tiles((height, width), core=core, halo=halo, stride=stride):
        owners[tile.owns.slices] += 1
    assert (owners == 1).all()


@given(height=side, width=side, core=side, halo=halos, stride=strides)
def test_tiles_read_their_halo_or_the_border_from_aligned_windows_of_one_shape(
    height: int, width: int, core: int, halo: int, stride: int
) -> None:
    grid = Window(0, height, 0, width)
    tiles = plan_tiles(grid.shape, core=core, halo=halo, stride=stride)
    for tile in tiles:
        assert tile.reads.contains(tile.owns.grow(halo).clip(grid))
        assert grid.contains(tile.reads)
        assert tile.reads.y0 % stride == 0
        assert tile.reads.x0 % stride == 0
    expected = tile_read_shape(grid.shape, core=core, halo=halo, stride=stride)
    assert {tile.reads.shape for tile in tiles} == {expected}
    assert len(tiles) == count_tiles(grid.shape, core=core)


def test_a_tile_as_large_as_the_grid_does_no_redundant_work() -> None:
    (tile,) = plan_tiles((75, 224), core=224, halo=47)
    assert tile.reads == tile.owns


def test_a_plan_without_a_core_is_refused_with_the_values() -> None:
    with pytest.raises(ValueError, match="core=0"):
        plan_tiles((5, 5), core=0, halo=1)
