"""The world's coastline in the CRS of a map."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from pipeline.plots.style import TEXT_COLOR
from stores.array_types import Float64Array

_FILE = Path(__file__).with_name("coastline.npz")
_PER_DEGREE = 200
_LONGEST = 3.0  # from one point of a line to the next, at most [degree]
_JUMP = 2e6  # further, a line is torn apart at the edge of a projection [m]
_LONLAT = CRS("OGC:CRS84")
_WORLD = (-180.0, -90.0, 180.0, 90.0)  # west, south, east, north [degree]
_NOTHING = np.empty((2, 0))

Polylines = Float64Array
"""Points (2, n) of all lines, x before y, with a NaN between two lines."""
Box = tuple[float, float, float, float]
"""West, south, east and north."""


def draw_coastline(axes: Axes, box: Box, crs: str | None, *, geographic: bool) -> None:
    """Draw the coastline on a map, where its CRS has a place on the globe."""
    lines = find_coastline(box, crs, geographic=geographic)
    if lines.size:
        style: dict[str, Any] = {"color": TEXT_COLOR, "linewidth": 0.6, "zorder": 2.5}
        axes.plot(*lines, scalex=False, scaley=False, **style)


@lru_cache(maxsize=8)
def find_coastline(box: Box, crs: str | None, *, geographic: bool) -> Polylines:
    """Find the lines (2, n) that may touch a box of a CRS; none if the CRS has no place.

    Longitudes count from -180 or from 0, as those of the box do.
    """
    if geographic:
        west, _, east, _ = box
        turns = range(int((west - 180) // 360), int((east + 180) // 360) + 1)
        copies = [_load() + np.array([[360.0 * turn], [0.0]]) for turn in turns]
        return _crop(np.concatenate(copies, axis=1), _grow(box, _LONGEST))
    try:
        return _project(box, CRS(crs)) if crs else _NOTHING
    except ProjError:  # such as an engineering CRS: a map of no place on the globe
        return _NOTHING


def _project(box: Box, crs: CRS) -> Polylines:
    """Project lines near a box to its CRS (2, n), broken where they jump across the map."""
    to_lonlat = Transformer.from_crs(crs, _LONLAT, always_xy=True)
    west, south, east, north = to_lonlat.transform_bounds(*box)
    if not np.isfinite([west, south, east, north]).all():  # corners beyond the globe's disk
        west, south, east, north = _WORLD
    if west > east:  # the box lies on both sides of the antimeridian
        east += 360
    nearby = find_coastline((west, south, east, north), None, geographic=True)
    points = Transformer.from_crs(_LONLAT, crs, always_xy=True).transform(*nearby)
    lines = np.where(np.isfinite(points), points, np.nan)
    jumps = np.hypot(*np.diff(lines, axis=1)) > _JUMP
    return np.insert(lines, np.flatnonzero(jumps) + 1, np.nan, axis=1)


@lru_cache(maxsize=1)
def _load() -> Polylines:
    """Read all lines (2, n) [degree]."""
    with np.load(_FILE, allow_pickle=False) as stored:
        points = stored["steps"].cumsum(axis=1) / _PER_DEGREE
        breaks = stored["lengths"].cumsum()
    return np.insert(points, breaks, np.nan, axis=1)


def _grow(box: Box, margin: float) -> Box:
    west, south, east, north = box
    return west - margin, south - margin, east + margin, north + margin


def _crop(lines: Polylines, box: Box) -> Polylines:
    """Return the points inside of a box (2, n), and one NaN where a line leaves it."""
    west, south, east, north = box
    x, y = lines
    inside = (west <= x) & (x <= east) & (south <= y) & (y <= north)
    left = np.append(False, inside[:-1]) & ~inside
    cropped: Polylines = np.where(inside, lines, np.nan)[:, inside | left]
    return cropped
