from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.layout import check_shard_aligned, plan_layout

side = st.integers(1, 41)


@st.composite
def blocks(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """Draw the length of an array, its shard, and a block inside it."""
    length = draw(side)
    begin = draw(st.integers(0, length - 1))
    return length, draw(st.integers(1, 17)), begin, draw(st.integers(begin + 1, length))


def _shares_a_shard(length: int, shard: int, begin: int, end: int) -> bool:
    """Ask every pixel whether it lies in one shard with a pixel outside the block."""
    owner = np.arange(length) // shard
    inside = np.zeros(length, dtype=bool)
    inside[begin:end] = True
    return bool(np.intersect1d(owner[inside], owner[~inside]).size)


@given(blocks(), blocks())
def test_the_owner_check_judges_as_brute_force_does(
    ys: tuple[int, int, int, int], xs: tuple[int, int, int, int]
) -> None:
    height, shard_y, y0, y1 = ys
    width, shard_x, x0, x1 = xs
    shared = _shares_a_shard(*ys) or _shares_a_shard(*xs)
    try:
        check_shard_aligned(
            (y0, x0), (y1, x1), shape=(height, width), shard=(shard_y, shard_x), dims=("y", "x")
        )
    except ValueError:
        assert shared
    else:
        assert not shared


def test_the_owner_check_names_dimension_and_edge() -> None:
    with pytest.raises(ValueError, match=r"block y\[512:900\] .* shard edge of 'y' \(256"):
        check_shard_aligned((512,), (900,), shape=(2048,), shard=(256,), dims=("y",))


def test_a_block_beyond_the_array_is_refused() -> None:
    with pytest.raises(ValueError, match="length 5"):
        check_shard_aligned((4,), (8,), shape=(5,), shard=(4,), dims=("time",))


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(12, 22))
def test_a_layout_keeps_months_apart_and_shards_whole(
    rows: int, cols: int, exponent: int
) -> None:
    layout = plan_layout((rows, cols), chunk_bytes=1 << exponent, shard_bytes=1 << 22)
    assert layout.chunk[0] == layout.shard[0] == 1
    for chunk, shard, length in zip(
        layout.chunk[1:], layout.shard[1:], (rows, cols), strict=True
    ):
        assert 1 <= chunk <= length
        assert shard % chunk == 0
    owned = sum(block.size for block in layout.shard_windows((rows, cols)))
    assert owned == rows * cols


def test_a_country_gets_few_files_and_small_chunks() -> None:
    layout = plan_layout((7316, 4963))
    assert layout.chunk == (1, 512, 512)
    assert len(layout.shard_windows((7316, 4963))) <= 4
