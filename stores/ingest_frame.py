"""One frame of a cube: read from its file and written shard by shard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from odc.geo.geobox import GeoBox

from stores.append import PlannedFrame
from stores.archive import SourceVariable
from stores.array_types import Float32Array
from stores.arrays import write_block
from stores.errors import ArchiveError, DiskFullError
from stores.names import resolve_under
from stores.readers import pick_reader
from stores.regrid import Regridder
from stores.warp import pick_resampling
from stores.windows import Window


@dataclass(frozen=True, slots=True)
class FrameWriteJob:
    """What a writer needs to know of a plan: one variable and its frames."""

    root: Path
    grid: GeoBox
    source: SourceVariable
    frames: dict[str, PlannedFrame]


@contextmanager
def reraise_with_frame(frame: PlannedFrame) -> Iterator[None]:
    """Reraise what goes wrong on any worker with the frame and the file it was."""
    what = f"{frame.variable} {frame.key} of {frame.file or 'a gap'}"
    try:
        yield
    except (ArchiveError, DiskFullError) as error:
        raise type(error)(f"{what}: {error}") from error
    except OSError as error:
        raise OSError(
            error.errno, f"{what}: {error.strerror or error}", error.filename
        ) from error


def copy_frame(job: FrameWriteJob, frame: PlannedFrame, array: zarr.Array[Any]) -> int:
    """Bring a file onto the cube's grid, shard by shard, and count the valid pixels.

    A gap is a frame without a valid pixel.
    """
    if frame.file is None:
        return sum(_write(array, frame.index, w, _empty(w)) for w in shard_windows(array))
    path = resolve_under(job.root, frame.file)
    source = job.source
    with pick_reader(path).open_band(path, source) as band:
        grid = band.header.grid
        method = pick_resampling(
            source.resampling, grid, job.grid, is_classes=source.is_classes
        )
        regridder = Regridder(grid, job.grid, method)
        n_valid = 0
        for window in shard_windows(array):
            values = regridder.read(band.read, window)
            if source.valid_range:  # cubic overshoots
                np.clip(values, *source.valid_range, out=values)
            n_valid += _write(array, frame.index, window, values)
    _check_unchanged(path, frame)  # now: what was read is what was checked
    return n_valid


def shard_windows(array: zarr.Array[Any]) -> Iterator[Window]:
    """Cut a frame into the windows of its shards."""
    rows, cols = (array.shards or array.chunks)[-2:]
    return Window.from_shape((array.shape[-2], array.shape[-1])).blocks(rows, cols)


def _check_unchanged(path: Path, frame: PlannedFrame) -> None:
    if pick_reader(path).digest_raster(path) != frame.digest:
        raise ArchiveError(
            f"{frame.file} has changed since the inventory, so what was checked is not what "
            "was read; run the ingest again"
        )


def _empty(window: Window) -> Float32Array:
    return np.full(window.shape, np.nan, dtype=np.float32)


def _write(
    array: zarr.Array[Any], index: int | None, window: Window, values: Float32Array
) -> int:
    """Write one shard of a frame (y, x) and count its valid pixels."""
    leading = () if index is None else (index,)
    block = values if index is None else values[None]
    write_block(array, (*leading, window.y0, window.x0), block)
    return int(np.count_nonzero(np.isfinite(values)))
