"""A band on the cube's grid, window by window: a frame is never in memory whole.

Where the grids differ, the target is warped in blocks of a lattice that both grids determine,
each from the source pixels that it depends on. A block has the same values whatever window
asks for it, so any windows together equal the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox
from rasterio.warp import transform

from stores.grid import crs_of
from stores.warp import is_same, place, transforming, warp_onto
from stores.windows import Window

Values = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
ReadWindow = Callable[[Window], Values]

BLOCK_PX = 1 << 21
"""Pixels of a block of the lattice, and about as many of the source as one is warped from."""

_LARGEST_SIDE, _SMALLEST_SIDE = 1024, 16
_PROBES = 16  # places along each side of a block where the mapping is looked at
_RADIUS = {"nearest": 1, "bilinear": 1, "cubic": 2, "average": 1, "mode": 1}
_KERNELS = ("bilinear", "cubic")  # widened by GDAL where the target is coarser
_ROUNDING_PX = 2


@dataclass(frozen=True)
class Regrid:
    """How values come from one grid onto another."""

    source: GeoBox
    target: GeoBox
    resampling: str

    def read(self, read: ReadWindow, window: Window) -> Values:
        """Read a window of the target (y, x); pixels outside the source are NaN.

        Args:
            read: gives a window of the source, NaN where invalid.
            window: pixels of the target.
        """
        if is_same(self.source, self.target):
            return read(window)
        values = np.empty(window.shape, dtype=np.float32)
        for block in self._lattice(window):
            part = block.clip(window)
            values[part.within(window).slices] = self._warp(read, block)[
                part.within(block).slices
            ]
        return values

    def reads(self, block: Window) -> Window:
        """Find the source pixels on which a block depends, with the halo of the kernel.

        The mapping is probed on the block's border and inside; what lies between two probes
        is covered by their distance. Places that have no image in the source are left out.
        """
        rows, cols = (_probes(*side) for side in ((block.y0, block.y1), (block.x0, block.x1)))
        y, x = self._map(rows, cols)
        whole = Window.whole((self.source.height, self.source.width))
        if not np.isfinite(y).any():
            return Window(0, 0, 0, 0)
        halo = [_RADIUS[self.resampling] * max(1.0, ratio) for ratio in self.ratio]
        (y0, y1), (x0, x1) = (_span(axis, px) for axis, px in zip((y, x), halo, strict=True))
        return Window(y0, y1, x0, x1).clip(whole)

    @cached_property
    def ratio(self) -> tuple[float, float]:
        """Give the source pixels per target pixel along y and x, in the target's middle."""
        row, col = self.target.height // 2, self.target.width // 2
        y, x = self._map(np.array([row, row + 1.0]), np.array([col, col + 1.0]))
        if not (np.isfinite(y).all() and np.isfinite(x).all()):  # has no image there
            return 1.0, 1.0
        return float(np.abs(_steps(y)).max()), float(np.abs(_steps(x)).max())

    @cached_property
    def side(self) -> int:
        """Choose the side of a block, so that what it is warped from stays small [px]."""
        finest = max(1.0, math.prod(self.ratio))
        side = 1 << int(math.log2(math.sqrt(BLOCK_PX / finest)))
        return max(_SMALLEST_SIDE, min(side, _LARGEST_SIDE))

    def _lattice(self, window: Window) -> list[Window]:
        """List the blocks that meet a window; the last of a row or column is smaller."""
        side = self.side
        y0, x0 = (first // side * side for first in (window.y0, window.x0))
        y1, x1 = (math.ceil(last / side) * side for last in (window.y1, window.x1))
        whole = Window.whole((self.target.height, self.target.width))
        return [block.clip(whole) for block in Window(y0, y1, x0, x1).blocks(side, side)]

    def _warp(self, read: ReadWindow, block: Window) -> Values:
        """Warp one block from the part of the source that it depends on."""
        part = self.reads(block)
        if not part.size:
            return np.full(block.shape, np.nan, dtype=np.float32)
        return warp_onto(
            read(part),
            crop(self.source, part),
            crop(self.target, block),
            resampling=self.resampling,
            scale=self._scale,
        )

    @cached_property
    def _scale(self) -> tuple[float, float] | None:
        """Fix how far a kernel is widened; GDAL would choose it anew for every block."""
        if self.resampling not in _KERNELS:
            return None
        rows, cols = (1 / max(1.0, ratio) for ratio in self.ratio)
        return rows, cols

    def _map(self, rows: Float64, cols: Float64) -> tuple[Float64, Float64]:
        """Map pixel places of the target to those of the source, (rows, cols) each."""
        col, row = np.meshgrid(cols, rows)
        x, y = place(self.target.affine, (col, row))
        there, here = crs_of(self.source), crs_of(self.target)
        if there != here:
            with transforming(self.source, self.target):
                x, y = transform(str(here), str(there), x.ravel(), y.ravel())
            x, y = (np.asarray(axis).reshape(row.shape) for axis in (x, y))
            x, y = (np.where(np.isfinite(x) & np.isfinite(y), axis, np.nan) for axis in (x, y))
        if there.geographic:
            x = _turned(x, self.source)
        px, py = place(~self.source.affine, (x, y))
        return py, px


def crop(grid: GeoBox, window: Window) -> GeoBox:
    """Give the part of a grid that a window covers."""
    return grid[window.slices]


def _turned(longitudes: Float64, grid: GeoBox) -> Float64:
    """Turn longitudes by whole circles to where a grid lies, as GDAL does."""
    box = grid.boundingbox
    middle = (box.left + box.right) / 2
    turned: Float64 = middle + (longitudes - middle + 180) % 360 - 180
    return turned


def _probes(first: int, last: int) -> Float64:
    return np.linspace(first, last, min(_PROBES, last - first) + 1)


def _steps(axis: Float64) -> Float64:
    """Give the distances between neighboring probes, along both sides."""
    return np.concatenate([np.diff(axis, axis=0).ravel(), np.diff(axis, axis=1).ravel()])


def _span(axis: Float64, halo: float) -> tuple[int, int]:
    """Cover all probes and what may lie between them, and the halo [px]."""
    steps = np.abs(_steps(axis))
    between = float(np.nanmax(steps)) if np.isfinite(steps).any() else 0.0
    reach = between + halo + _ROUNDING_PX
    return math.floor(np.nanmin(axis) - reach), math.ceil(np.nanmax(axis) + reach)
