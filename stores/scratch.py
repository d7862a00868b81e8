"""What a rollout in blocks hands from one block of leads to the next: normalized frames."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from stores.arrays import (
    ArrayTemplate,
    array_of,
    commit_group,
    create_group,
    open_group,
    write_block,
)
from stores.layout import Layout
from stores.names import LEAD, X, Y
from stores.windows import Window

Float32 = npt.NDArray[np.float32]

_NAME = "normalized"


def scratch_of(stage: Path) -> Path:
    """Name the scratch store of a stage; it lies beside it, and is not published."""
    return stage.with_name(f"{stage.name}.scratch.zarr")


def create_scratch(stage: Path, grid: GeoBox, *, leads: int, layout: Layout) -> None:
    """Make room for ``leads`` frames, or keep the room that was made before."""
    path = scratch_of(stage)
    if (path / "zarr.json").exists():
        return
    fresh = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(fresh, ignore_errors=True)
    shape = (leads, grid.height, grid.width)
    template = ArrayTemplate(_NAME, (LEAD, Y, X), shape, layout.chunk, layout.shard)
    create_group(fresh, grid=grid, arrays=[template])
    commit_group(fresh)
    fresh.rename(path)


def write_scratch(stage: Path, window: Window, values: Float32, *, first: int) -> None:
    """Write frames (leads, y, x) of one window; the first is lead ``first``, from 0."""
    array = array_of(open_group(scratch_of(stage), mode="r+"), _NAME)
    write_block(array, (first, window.y0, window.x0), values)


def read_scratch(stage: Path, window: Window, first: int, stop: int) -> Float32:
    """Read the leads ``first`` to ``stop`` (from 0, half open) of a window (leads, y, x).

    Exactly what was computed: float32 goes through the store unchanged.
    """
    array = array_of(open_group(scratch_of(stage)), _NAME)
    return np.asarray(array[first:stop, *window.slices], dtype=np.float32)
