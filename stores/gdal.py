"""How much GDAL may hold: blocks that it has decoded and may be asked for again."""

from __future__ import annotations

import os

CACHE_BYTES = 128 << 20
"""Cache of a process, for all files it has open: what two windows of a frame share stays in
it, so that a block is decoded once, and a raster of any size takes no more."""


def limit_cache() -> None:
    """Keep GDAL's cache at ``CACHE_BYTES``, unless the environment says otherwise.

    GDAL's own default is a fraction of the machine's memory, so that use would follow the
    raster. It reads the number when it decodes its first block, so this is done on import.
    """
    os.environ.setdefault("GDAL_CACHEMAX", str(CACHE_BYTES >> 20))  # [MB]
