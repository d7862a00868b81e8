import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.streams.lru_cache import Arrays, LRUCache
from pipeline.streams.slabs import SLAB_BYTES, SlabGrid, SlabReader, fill_invalid
from stores.array_types import Float32Array
from stores.windows import Window

GRID = (23, 17)
VALUES: Float32Array = np.arange(29 * 23 * 17, dtype=np.float32).reshape(29, *GRID)


def read(start: int, stop: int, window: Window) -> Arrays:
    part = VALUES[start:stop, *window.slices]
    return part, part % 2 == 0


@given(
    places=st.lists(st.integers(3, 25), min_size=1, max_size=20),
    frames=st.integers(1, 9),
    edges=st.tuples(st.integers(1, 23), st.integers(1, 17)),
    corner=st.tuples(st.integers(0, 20), st.integers(0, 14)),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_a_cut_is_that_of_the_whole_array_wherever_slabs_end(
    places: list[int],
    frames: int,
    edges: tuple[int, int],
    corner: tuple[int, int],
    size: tuple[int, int],
) -> None:
    window = Window(corner[0], corner[0] + size[0], corner[1], corner[1] + size[1])
    window = window.clip(Window.from_shape(GRID))
    slabs = SlabReader("a", SlabGrid(3, 26, GRID, frames, *edges), read, LRUCache(1 << 20))
    shape = (len(places), *window.shape)
    values, even = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=bool)
    slabs.read_into(slabs.shape.frame_runs(places), window, (values, even))
    expected = VALUES[places][:, *window.slices]
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(even, expected % 2 == 0)


def test_what_slabs_will_hold_is_known_before_they_are_read() -> None:
    kept = LRUCache(1 << 20)
    slabs = SlabReader("a", SlabGrid(3, 26, GRID, 4, 8, 5), read, kept)
    windows, places = [Window(6, 10, 2, 9), Window(0, 3, 0, 3)], [3, 4, 5, 24, 25]
    for window in windows:
        slabs.read_into(slabs.shape.frame_runs(places), window, (np.empty((5, *window.shape)),))
    assert kept.n_loaded == 12
    # Both windows stand in the four slabs of one corner; each at three times.
    assert slabs.touched_bytes(places, windows, 5) == kept.cached_bytes


def test_a_slab_is_of_whole_chunks_and_of_one_where_frames_are_missing() -> None:
    shape = SlabGrid.of(range(2, 30), (1000, 300), (1, 128, 512))
    assert (shape.rows, shape.cols) == (256, 300)
    assert shape.frames == SLAB_BYTES // (256 * 300 * 4)
    assert SlabGrid.of([0, 3], (1000, 300), (1, 128, 512)).frames == 1
    assert SlabGrid.of(range(40), (9, 9), (7, 9, 9)).frames % 7 == 0


def test_what_is_invalid_is_filled_in_place() -> None:
    values = np.array([1, np.nan, -3, np.inf], dtype=np.float32)
    filled, valid = fill_invalid(values)
    assert filled is values
    assert filled.tolist() == [1, 0, -3, 0]
    assert valid.tolist() == [True, False, True, False]
