"""Markers of missing pixels: where files declare them, and which pixels hold them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from stores.archive import SourceVariable
from stores.array_types import AnyArray, BoolArray

_SENTINEL = 1e30  # larger than any quantity, smaller than the -3.4e38 and 9.97e36 of old tools
_MARKER = re.compile(r"(band(\d+))?(gdal|netcdf)?(nodata|nodatavalue|fillvalue|missingvalue)")


def find_nodata_values(raster: Any, variable: SourceVariable) -> dict[str, list[float]]:
    """Collect the markers of missing pixels by where they stand."""
    declared = raster.nodatavals[variable.band - 1]
    found = {"profile": [] if declared is None else [float(declared)]}
    for tags in (raster.tags(), raster.tags(variable.band)):
        for key, text in tags.items():
            if _is_marker(key, variable.band):
                found[f"tag {key}"] = _numbers(text)
    found["recipe"] = [] if variable.nodata is None else [variable.nodata]
    return found


def _is_marker(key: str, band: int) -> bool:
    """Tell whether a tag's name says nodata: 'Nodata', 'rain#_FillValue', 'band_2_nodata'."""
    plain = re.sub(r"[^a-z0-9]", "", key.rpartition("#")[2].lower())
    match = _MARKER.fullmatch(plain)
    return match is not None and int(match[2] or band) == band


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in re.split(r"[,;\s]+", text.strip("{}[]() \t"))]
    except ValueError:
        return []


def find_missing(stored: AnyArray, nodata: Sequence[float]) -> BoolArray:
    """Find the markers among numbers as the file holds them; -9999 is none of a uint8."""
    missing = np.zeros(stored.shape, dtype=bool)
    with np.errstate(over="ignore"):
        if stored.dtype.kind == "f":
            missing |= np.isnan(stored) | (np.isfinite(stored) & (np.abs(stored) > _SENTINEL))
        for marker in nodata:
            if stored.dtype.kind == "f":
                missing |= stored == stored.dtype.type(marker)
            elif _fits(marker, stored.dtype):
                missing |= stored == int(marker)
    return missing


def _fits(marker: float, dtype: np.dtype[Any]) -> bool:
    limits = np.iinfo(dtype)
    return bool(float(marker).is_integer() and limits.min <= marker <= limits.max)
