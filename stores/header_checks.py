"""What a file declares, checked by its header: a few bytes may announce hours of reading.

GDAL decodes what a header announces, also where the file holds nothing. So the size of a block
and the number of pixels are compared with what is there before a block is read.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from stores.errors import ArchiveError, GridError
from stores.formatting import format_bytes
from stores.grid import describe_grid
from stores.warp import check_overlap, is_same_grid

_MAX_BLOCK_BYTES = 256 << 20
"""What the file decodes together; several files are read at the same time."""
_MAX_UNCHECKED_PX = 1 << 25
"""So many pixels are read in a second, whatever the file holds."""
_MAX_PX_PER_BYTE = 1000
"""Deflate packs no more into a byte; what declares more is mostly empty."""
_MAX_SOURCE_PX_PER_PX = 1_000_000
"""Pixels of a source for one of the cube: 30 m onto 30 km."""


def check_header(raster: Any, band: int) -> None:
    """Refuse a header that promises what the file cannot hold or a reader cannot decode.

    Raises:
        ArchiveError: says the limit and a way out.
    """
    name = Path(raster.name).name
    dtype = raster.dtypes[band - 1]
    if dtype.startswith("complex"):  # complex_int16 is none that NumPy knows
        raise ArchiveError(
            f"{name} holds complex numbers ({dtype}), of which half would be lost; write what "
            "is meant (real part, amplitude) as a band of its own"
        )
    n_interleaved = raster.count if raster.interleaving.name == "pixel" else 1
    n_bytes = (
        math.prod(raster.block_shapes[band - 1]) * np.dtype(dtype).itemsize * n_interleaved
    )
    if n_bytes > _MAX_BLOCK_BYTES:
        rows, cols = raster.block_shapes[band - 1]
        raise ArchiveError(
            f"{name} is stored in blocks of {rows} x {cols} px ({format_bytes(n_bytes)}, at "
            f"most {format_bytes(_MAX_BLOCK_BYTES)} are decoded together), so it is not read; "
            "write it anew with 'gdal_translate -co TILED=YES'"
        )
    _check_density(name, raster)


def _check_density(name: str, raster: Any) -> None:
    n_bytes = Path(raster.name).stat().st_size
    n_px = raster.height * raster.width
    if n_px > max(_MAX_UNCHECKED_PX, n_bytes * _MAX_PX_PER_BYTE):
        raise ArchiveError(
            f"{name} declares {raster.height} x {raster.width} px but holds {n_bytes} bytes "
            f"({n_px / n_bytes:.0f} px a byte, at most {_MAX_PX_PER_BYTE}), so it is almost "
            "empty and not read; crop it to the cube's area or coarsen it with gdalwarp"
        )


def check_source_grid(source: GeoBox, target: GeoBox, *, what: str) -> None:
    """Refuse a grid that does not meet the cube's, or is finer than is worth reading.

    Raises:
        GridError: says the limit and a way out.
    """
    if is_same_grid(source, target):
        return
    check_overlap(source, target, what=what)
    n_px, n_target = (grid.height * grid.width for grid in (source, target))
    if n_px > _MAX_SOURCE_PX_PER_PX * n_target:
        raise GridError(
            f"{what} lies at {describe_grid(source)}, which are {n_px / n_target:.3g} px for "
            f"each of the cube's ({describe_grid(target)}; at most "
            f"{_MAX_SOURCE_PX_PER_PX:,}), so most of the work would be reading it; "
            "coarsen it or crop it to the cube's area with gdalwarp"
        )
