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
from odc.geo.geobox import GeoBox
from rasterio.warp import transform

from stores.array_types import Float32Array, Float64Array
from stores.grid import crs_of
from stores.warp import apply_affine, is_same_grid, reraise_transform_errors, warp_onto
from stores.windows import Window

ReadWindow = Callable[[Window], Float32Array]

BLOCK_PX = 1 << 21
"""Pixels of a block of the lattice, and about as many of the source as one is warped from."""

_LARGEST_SIDE = 1024
_SMALLEST_SIDE = 16
_PROBES = 16  # points along each side of a block where the mapping is sampled
_RADIUS = {"nearest": 1, "bilinear": 1, "cubic": 2, "average": 1, "mode": 1}
_KERNELS = ("bilinear", "cubic")  # widened by GDAL where the target is coarser
_ROUNDING_PX = 2


@dataclass(frozen=True)
class Regridder:
    """How values come from one grid onto another."""

    source: GeoBox
    target: GeoBox
    resampling: str

    def read(self, read: ReadWindow, window: Window) -> Float32Array:
        """Read a window of the target (y, x); pixels outside the source are NaN.

        Args:
            read: reads a window of the source (y, x), NaN where invalid.
            window: pixels of the target.
        """
        if is_same_grid(self.source, self.target):
            return read(window)
        values = np.empty(window.shape, dtype=np.float32)
        for block in self._blocks(window):
            overlap = block.clip(window)
            values[overlap.relative_to(window).slices] = self._warp(read, block)[
                overlap.relative_to(block).slices
            ]
        return values

    def source_window(self, block: Window) -> Window:
        """Find the source pixels on which a block depends, with the halo of the kernel.

        The mapping is probed on the block's border and inside; what lies between two probes
        is covered by their distance. Points that have no image in the source are left out.
        """
        rows, cols = (_probes(*side) for side in ((block.y0, block.y1), (block.x0, block.x1)))
        y, x = self._map(rows, cols)
        full = Window.from_shape((self.source.height, self.source.width))
        if not np.isfinite(y).any():
            return Window(0, 0, 0, 0)
        halo = [_RADIUS[self.resampling] * max(1.0, ratio) for ratio in self.ratio]
        (y0, y1), (x0, x1) = (
            _source_range(axis, px) for axis, px in zip((y, x), halo, strict=True)
        )
        return Window(y0, y1, x0, x1).clip(full)

    @cached_property
    def ratio(self) -> tuple[float, float]:
        """Compute the source pixels per target pixel along y and x, in the target's middle."""
        row = self.target.height // 2
        col = self.target.width // 2
        y, x = self._map(np.array([row, row + 1.0]), np.array([col, col + 1.0]))
        if not (np.isfinite(y).all() and np.isfinite(x).all()):  # has no image there
            return 1.0, 1.0
        return float(np.abs(_probe_distances(y)).max()), float(
            np.abs(_probe_distances(x)).max()
        )

    @cached_property
    def block_side(self) -> int:
        """Choose the side of a block, so that what it is warped from stays small [px]."""
        finest = max(1.0, math.prod(self.ratio))
        side = 1 << int(math.log2(math.sqrt(BLOCK_PX / finest)))
        return max(_SMALLEST_SIDE, min(side, _LARGEST_SIDE))

    def _blocks(self, window: Window) -> list[Window]:
        """List the blocks that meet a window; the last of a row or column is smaller."""
        side = self.block_side
        y0, x0 = (first // side * side for first in (window.y0, window.x0))
        y1, x1 = (math.ceil(last / side) * side for last in (window.y1, window.x1))
        full = Window.from_shape((self.target.height, self.target.width))
        return [block.clip(full) for block in Window(y0, y1, x0, x1).blocks(side, side)]

    def _warp(self, read: ReadWindow, block: Window) -> Float32Array:
        """Warp one block (y, x) from the part of the source that it depends on."""
        source_window = self.source_window(block)
        if not source_window.size:
            return np.full(block.shape, np.nan, dtype=np.float32)
        return warp_onto(
            read(source_window),
            crop(self.source, source_window),
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

    def _map(self, rows: Float64Array, cols: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Map pixel positions of the target to those of the source, (rows, cols) each."""
        col, row = np.meshgrid(cols, rows)
        x, y = apply_affine(self.target.affine, (col, row))
        source_crs = crs_of(self.source)
        target_crs = crs_of(self.target)
        if source_crs != target_crs:
            with reraise_transform_errors(self.source, self.target):
                x, y = transform(str(target_crs), str(source_crs), x.ravel(), y.ravel())
            x, y = (np.asarray(axis).reshape(row.shape) for axis in (x, y))
            x, y = (np.where(np.isfinite(x) & np.isfinite(y), axis, np.nan) for axis in (x, y))
        if source_crs.geographic:
            x = _wrap_longitudes(x, self.source)
        px, py = apply_affine(~self.source.affine, (x, y))
        return py, px


def crop(grid: GeoBox, window: Window) -> GeoBox:
    """Return the part of a grid that a window covers."""
    return grid[window.slices]


def _wrap_longitudes(longitudes: Float64Array, grid: GeoBox) -> Float64Array:
    """Turn longitudes by whole circles to where a grid lies, as GDAL does."""
    box = grid.boundingbox
    middle = (box.left + box.right) / 2
    wrapped: Float64Array = middle + (longitudes - middle + 180) % 360 - 180
    return wrapped


def _probes(first: int, last: int) -> Float64Array:
    return np.linspace(first, last, min(_PROBES, last - first) + 1)


def _probe_distances(axis: Float64Array) -> Float64Array:
    """Compute the distances between neighboring probes, along both sides."""
    return np.concatenate([np.diff(axis, axis=0).ravel(), np.diff(axis, axis=1).ravel()])


def _source_range(axis: Float64Array, halo: float) -> tuple[int, int]:
    """Cover all probes and what may lie between them, and the halo [px]."""
    steps = np.abs(_probe_distances(axis))
    max_step = float(np.nanmax(steps)) if np.isfinite(steps).any() else 0.0
    margin = max_step + halo + _ROUNDING_PX
    return math.floor(np.nanmin(axis) - margin), math.ceil(np.nanmax(axis) + margin)
