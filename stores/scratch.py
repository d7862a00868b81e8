"""What a rollout hands from one pass over the tiles to the next, beside the staged issue.

Frames are normalized float32 and go through the store unchanged. Nothing of it is published.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from odc.geo.geobox import GeoBox

from stores.array_types import Float32Array
from stores.arrays import (
    ArrayTemplate,
    commit_group,
    create_group,
    get_array,
    open_group,
    write_block,
)
from stores.issue import SCRATCH
from stores.layout import Layout
from stores.names import LEAD, X, Y
from stores.windows import Window

_FRAMES = "frames"
_TILE_FORECASTS = "parts"
_STATES = ("memory_of_even_blocks", "memory_of_odd_blocks")
_MEMBER = "member"
_CHANNEL = "channel"
_TILE = "tile"


def scratch_path(stage: Path) -> Path:
    """Return the scratch store beside a staged issue; it is not published."""
    return stage.with_name(SCRATCH)


@dataclass(frozen=True, slots=True)
class ScratchSpec:
    """What a scratch store has to hold, for every pixel of the grid."""

    layout: Layout
    members: int
    leads: int
    channels: int = 0
    """Channels of the recurrent state that networks carry from block to block."""

    @property
    def array_specs(self) -> tuple[tuple[str, str, int], ...]:
        """Name, second axis and its length of every array (member, ..., y, x)."""
        states = [(name, _CHANNEL, self.channels) for name in _STATES if self.channels]
        return ((_FRAMES, LEAD, self.leads), *states)


def create_scratch(stage: Path, grid: GeoBox, spec: ScratchSpec) -> None:
    """Create the arrays of frames and states, or keep those that were created before."""
    chunk, shard = ((1, *sides) for sides in (spec.layout.chunk, spec.layout.shard))
    arrays = [
        ArrayTemplate(
            name,
            (_MEMBER, axis, Y, X),
            (spec.members, length, grid.height, grid.width),
            chunk,
            shard,
        )
        for name, axis, length in spec.array_specs
    ]
    _create(stage, grid, arrays)


def write_scratch(stage: Path, window: Window, values: Float32Array, *, first: int) -> None:
    """Write frames (member, leads, y, x) of one window; the first is lead ``first``, from 0."""
    array = get_array(open_group(scratch_path(stage), mode="r+"), _FRAMES)
    write_block(array, (0, first, window.y0, window.x0), values)


def read_scratch(stage: Path, window: Window, first: int, stop: int) -> Float32Array:
    """Read the leads ``first`` to ``stop``, from 0 and half open (member, leads, y, x)."""
    array = get_array(open_group(scratch_path(stage)), _FRAMES)
    return np.asarray(array[:, first:stop, *window.slices], dtype=np.float32)


def write_state(stage: Path, window: Window, values: Float32Array, *, block: int) -> None:
    """Write the recurrent state after a block (member, channel, y, x).

    The state of the block before stays, since neighbors still read it.
    """
    array = get_array(open_group(scratch_path(stage), mode="r+"), _STATES[block % 2])
    write_block(array, (0, 0, window.y0, window.x0), values)


def read_state(stage: Path, window: Window, *, block: int) -> Float32Array:
    """Read the recurrent state after a block (member, channel, y, x)."""
    array = get_array(open_group(scratch_path(stage)), _STATES[block % 2])
    return np.asarray(array[..., *window.slices], dtype=np.float32)


def create_tile_forecasts(
    stage: Path, grid: GeoBox, *, shape: tuple[int, int, int, int, int]
) -> None:
    """Create the array of whole windows of tiles that overlap (tile, member, lead, y, x)."""
    template = ArrayTemplate(
        _TILE_FORECASTS,
        (_TILE, _MEMBER, LEAD, "row", "column"),
        shape,
        (1, 1, *shape[2:]),
        has_grid_mapping=False,
    )
    _create(stage, grid, [template])


def write_tile_forecast(stage: Path, tile: int, values: Float32Array) -> None:
    """Write all that a tile computed (member, leads, y, x), with what others own."""
    array = get_array(open_group(scratch_path(stage), mode="r+"), _TILE_FORECASTS)
    write_block(array, (tile, 0, 0, 0, 0), values[None])


def read_tile_forecast(stage: Path, tile: int, window: Window) -> Float32Array:
    """Read a window of what a tile computed (member, leads, y, x), in the tile's pixels."""
    array = get_array(open_group(scratch_path(stage)), _TILE_FORECASTS)
    return np.asarray(array[tile, :, :, *window.slices], dtype=np.float32)


def _create(stage: Path, grid: GeoBox, arrays: list[ArrayTemplate]) -> None:
    path = scratch_path(stage)
    if (path / "zarr.json").exists():
        return
    new_path = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(new_path, ignore_errors=True)
    create_group(new_path, grid=grid, arrays=arrays)
    commit_group(new_path)
    new_path.rename(path)
