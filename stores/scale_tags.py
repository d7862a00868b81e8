"""Tags that speak of a scale or an offset which nobody applies.

GDAL's own scale and offset belong to the band, and are applied. Radar products and converted
NetCDF files write them as plain tags, of which GDAL says nothing: values read are the file's
counts, not what its units promise.
"""

from __future__ import annotations

import re
from typing import Any

_IDENTITY_VALUES = {
    "gain": 1.0,
    "scale": 1.0,
    "scalefactor": 1.0,
    "offset": 0.0,
    "addoffset": 0.0,
}
"""Names of such tags in small letters, and the value that changes nothing."""


def find_unapplied(raster: Any, band: int) -> tuple[str, ...]:
    """List tags of an open file, as 'gain=0.5', that would change the values of a band."""
    if (raster.scales[band - 1], raster.offsets[band - 1]) != (1, 0):
        return ()
    tags = raster.tags() | raster.tags(band)
    return tuple(f"{key}={text}" for key, text in sorted(tags.items()) if _changes(key, text))


def _changes(key: str, text: str) -> bool:
    normalized = re.sub(r"[^a-z]", "", key.rpartition("#")[2].lower())
    try:
        return normalized in _IDENTITY_VALUES and float(text) != _IDENTITY_VALUES[normalized]
    except ValueError:
        return False
