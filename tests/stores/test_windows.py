from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.windows import Window

edge = st.integers(-20, 40)
size = st.integers(0, 30)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    y0 = draw(edge)
    x0 = draw(edge)
    return Window(y0, y0 + draw(size), x0, x0 + draw(size))


def _pixels(window: Window) -> set[tuple[int, int]]:
    return {(y, x) for y in range(window.y0, window.y1) for x in range(window.x0, window.x1)}


@given(windows(), windows())
def test_clip_keeps_the_pixels_that_both_windows_have(one: Window, other: Window) -> None:
    assert _pixels(one.clip(other)) == _pixels(one) & _pixels(other)


@given(st.lists(windows(), min_size=1, max_size=5))
def test_a_window_around_others_is_the_smallest_that_holds_them(inner: list[Window]) -> None:
    around = Window.bounding(inner)
    assert all(around.contains(window) for window in inner)
    y0 = min(w.y0 for w in inner)
    x0 = min(w.x0 for w in inner)
    y1 = max(w.y1 for w in inner)
    x1 = max(w.x1 for w in inner)
    assert around.shape == (y1 - y0, x1 - x0)


@given(windows(), windows())
def test_a_window_contains_another_when_its_pixels_do(one: Window, other: Window) -> None:
    if other.size:
        assert one.contains(other) == (_pixels(other) <= _pixels(one))


@given(windows(), st.integers(1, 11), st.integers(1, 11))
def test_blocks_own_every_pixel_exactly_once(window: Window, height: int, width: int) -> None:
    blocks = list(window.blocks(height, width))
    assert sum(block.size for block in blocks) == window.size
    assert set().union(*map(_pixels, blocks)) == _pixels(window)
    assert all(block.shape[0] <= height and block.shape[1] <= width for block in blocks)


@given(windows(), st.integers(0, 9))
def test_a_grown_window_holds_the_first_at_its_middle(window: Window, px: int) -> None:
    inner = window.relative_to(window.grow(px))
    assert (inner.y0, inner.x0) == (px, px)
    assert inner.shape == window.shape


def test_slices_take_the_pixels_of_a_window_from_the_whole_grid() -> None:
    grid = np.arange(7 * 11).reshape(7, 11)
    assert (grid[Window(2, 5, 3, 4).slices] == grid[2:5, 3:4]).all()
    assert (grid[Window.from_shape((7, 11)).slices] == grid).all()


def test_a_window_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ValueError, match=r"y\[5:3\] x\[0:1\] ends before it begins"):
        Window(5, 3, 0, 1)


def test_a_window_outside_cannot_be_expressed_within() -> None:
    with pytest.raises(ValueError, match="does not lie inside"):
        Window(0, 2, 0, 2).relative_to(Window(1, 3, 0, 2))
