"""What GDAL may hold, and who hears it: blocks that it has decoded, and lines of libtiff."""

from __future__ import annotations

import ctypes
import os
from importlib.util import find_spec
from pathlib import Path

CACHE_BYTES = 128 << 20
"""Cache of a process, for all files it has open: what two windows of a frame share stays in
it, so that a block is decoded once, and a raster of any size takes no more."""


def limit_cache() -> None:
    """Keep GDAL's cache at ``CACHE_BYTES``, unless the environment says otherwise.

    GDAL's own default is a fraction of the machine's memory, so that use would follow the
    raster. It reads the number when it decodes its first block, so this is done on import.
    """
    os.environ.setdefault("GDAL_CACHEMAX", str(CACHE_BYTES >> 20))  # [MB]


def silence_libtiff() -> None:
    """Keep libtiff from writing to the terminal what GDAL raises as well.

    GDAL hears of every error through a handler of its own, but a write that fails goes to
    libtiff's default one too. Reached is the library that rasterio's wheels bring along.
    """
    found = find_spec("rasterio")
    if found is None or found.origin is None:
        return
    packages = Path(found.origin).parents[1]
    for path in (packages / "rasterio.libs").glob("libtiff*.so*"):
        ctypes.CDLL(str(path)).TIFFSetErrorHandler(None)
