"""Nodata values: where files declare them, and which pixels hold them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from stores.archive import SourceVariable
from stores.array_types import AnyArray, BoolArray

_SENTINEL = 1e30  # larger than any quantity, smaller than the -3.4e38 and 9.97e36 of old tools
_NODATA_TAG = re.compile(
    r"(band(\d+))?(gdal|netcdf)?(nodata|nodatavalue|fillvalue|missingvalue)"
)


def find_nodata_values(raster: Any, variable: SourceVariable) -> dict[str, list[float]]:
    """Collect the nodata values of a band by where they stand."""
    declared = raster.nodatavals[variable.band - 1]
    values = {"profile": [] if declared is None else [float(declared)]}
    for tags in (raster.tags(), raster.tags(variable.band)):
        for key, text in tags.items():
            if _is_nodata_tag(key, variable.band):
                values[f"tag {key}"] = _numbers(text)
    values["recipe"] = [] if variable.nodata is None else [variable.nodata]
    return values


def _is_nodata_tag(key: str, band: int) -> bool:
    """Return whether a tag's name says nodata: 'Nodata', 'rain#_FillValue', 'band_2_nodata'."""
    normalized = re.sub(r"[^a-z0-9]", "", key.rpartition("#")[2].lower())
    match = _NODATA_TAG.fullmatch(normalized)
    return match is not None and int(match[2] or band) == band


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in re.split(r"[,;\s]+", text.strip("{}[]() \t"))]
    except ValueError:
        return []


def find_missing(stored: AnyArray, nodata: Sequence[float]) -> BoolArray:
    """Find nodata in stored numbers (y, x), as booleans (y, x); -9999 is none of a uint8."""
    missing = np.zeros(stored.shape, dtype=bool)
    with np.errstate(over="ignore"):
        if stored.dtype.kind == "f":
            missing |= np.isnan(stored) | (np.isfinite(stored) & (np.abs(stored) > _SENTINEL))
        for nodata_value in nodata:
            if stored.dtype.kind == "f":
                missing |= stored == stored.dtype.type(nodata_value)
            elif _fits(nodata_value, stored.dtype):
                missing |= stored == int(nodata_value)
    return missing


def _fits(nodata_value: float, dtype: np.dtype[Any]) -> bool:
    limits = np.iinfo(dtype)
    return bool(float(nodata_value).is_integer() and limits.min <= nodata_value <= limits.max)
