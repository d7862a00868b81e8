"""How much disk space an ingest takes at least: samples of its frames, compressed."""

from __future__ import annotations

import zlib

import numpy as np

from stores.append import PlannedFrame
from stores.ingest_plan import IngestPlan, PlannedVariable
from stores.names import resolve_under
from stores.readers import pick_reader
from stores.regrid import Regridder
from stores.warp import pick_resampling
from stores.windows import Window

_N_SAMPLES = 4  # along each side of the grid
_SAMPLE_PX = 256
_ZLIB_LEVEL = 1  # a level of zlib that packs about as the cube's own codec does
_LOWER_BOUND_FACTOR = 0.7
"""Fraction of an estimate that is needed whatever the rest of the files hold."""


def estimate_bytes(plan: IngestPlan) -> int:
    """Estimate the bytes of all new frames from samples of one frame of each variable."""
    return int(
        _LOWER_BOUND_FACTOR * sum(_estimate(plan, variable) for variable in plan.variables)
    )


def _estimate(plan: IngestPlan, variable: PlannedVariable) -> float:
    name = variable.source.name
    frames = [frame for frame in plan.frames if frame.variable == name and frame.file]
    if not frames:
        return 0.0
    return (
        len(frames)
        * plan.frame_bytes
        * _compression_ratio(plan, variable, frames[len(frames) // 2])
    )


def _compression_ratio(
    plan: IngestPlan, variable: PlannedVariable, frame: PlannedFrame
) -> float:
    """Compress samples of a frame, and return the bytes that are left of one."""
    assert frame.file is not None
    source = variable.source
    compressed = 0
    uncompressed = 0
    path = resolve_under(plan.root, frame.file)
    with pick_reader(path).open_band(path, source) as band:
        grid = band.header.grid
        method = pick_resampling(
            source.resampling, grid, plan.grid, is_classes=source.is_classes
        )
        regridder = Regridder(grid, plan.grid, method)
        for window in _sample_windows((plan.grid.height, plan.grid.width)):
            values = regridder.read(band.read, window)
            compressed += len(zlib.compress(values.tobytes(), _ZLIB_LEVEL))
            uncompressed += values.nbytes
    return compressed / uncompressed


def _sample_windows(shape: tuple[int, int]) -> list[Window]:
    """Spread samples evenly over a grid; a small one is covered whole."""
    rows, cols = (_starts(length) for length in shape)
    grid = Window.from_shape(shape)
    return [Window(y, y + _SAMPLE_PX, x, x + _SAMPLE_PX).clip(grid) for y in rows for x in cols]


def _starts(length: int) -> list[int]:
    n = min(_N_SAMPLES, -(-length // _SAMPLE_PX))
    starts = np.linspace(0, max(0, length - _SAMPLE_PX), n).astype(int)
    return [int(start) for start in starts]
