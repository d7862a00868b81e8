"""Outlines on the globe: where a grid lies, as GeoJSON writes it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from stores import grid as grids
from stores.array_types import Float64Array

_POINTS_PER_SIDE = 24
_DIGITS = 7  # about a centimeter


def footprint(grid: GeoBox) -> tuple[dict[str, Any], list[float]]:
    """Compute the outline of a grid in longitude and latitude, and its bounding box.

    Sides are densified, since straight lines of a projection are curves on the globe. An
    outline that crosses the antimeridian is cut there, and its box then has west > east; one
    that holds a pole is replaced by the belt around that pole.

    Source: RFC 7946, sections 3.1.6, 3.1.9 and 5.2.
    """
    lon, lat = _ring(grid)
    lon = np.unwrap(lon, period=360)
    if abs(lon[-1] - lon[0]) > 180:
        lon, lat = _polar_belt(lat)
    lon = lon - 360 * np.floor((lon.min() + 180) / 360)
    ring = np.column_stack([lon, lat])
    if grid.affine.determinant > 0:  # rows run north, so the walk was clockwise
        ring = ring[::-1]
    south = lat.min()
    north = lat.max()
    if lon.max() <= 180:
        return _geojson([ring]), _round_all([lon.min(), south, lon.max(), north])
    parts = [
        _clip_at_antimeridian(ring, side=-1),
        _clip_at_antimeridian(ring, side=1) - [360, 0],
    ]
    is_belt = lon.max() - lon.min() >= 360
    west, east = (-180, 180) if is_belt else (lon.min(), lon.max() - 360)
    return _geojson(parts), _round_all([west, south, east, north])


def _ring(grid: GeoBox) -> tuple[Float64Array, Float64Array]:
    """Walk along the edge of a grid, counterclockwise from its top left corner."""
    rows, cols = grid.shape
    n = 5 if grids.crs_of(grid).geographic else _POINTS_PER_SIDE  # 5: no leap of 180 degrees
    down = np.linspace(0, rows, n)
    right = np.linspace(0, cols, n)
    row = np.concatenate([down[:-1], np.full(n - 1, rows), down[:0:-1], np.zeros(n)])
    col = np.concatenate([np.zeros(n - 1), right[:-1], np.full(n - 1, cols), right[::-1]])
    a, b, c, d, e, f = list(grid.affine)[:6]
    to_globe = Transformer.from_crs(grids.crs_of(grid).to_wkt(), "EPSG:4326", always_xy=True)
    lon, lat = to_globe.transform(a * col + b * row + c, d * col + e * row + f)
    return np.asarray(lon), np.asarray(lat)


def _polar_belt(
    lat: Float64Array,
) -> tuple[Float64Array, Float64Array]:
    south, north = (float(lat.min()), 90.0) if lat.mean() > 0 else (-90.0, float(lat.max()))
    box = np.array([[-180, north], [-180, south], [180, south], [180, north], [-180, north]])
    return box[:, 0], box[:, 1]


def _clip_at_antimeridian(ring: Float64Array, *, side: int) -> Float64Array:
    """Keep what lies west (-1) or east (1) of the antimeridian, closed along it."""
    kept: list[Float64Array] = []
    for before, after in pairwise(ring):
        ahead = side * (after[0] - 180)
        behind = side * (before[0] - 180)
        if ahead * behind < 0:
            kept.append(before + (after - before) * behind / (behind - ahead))
        if ahead >= 0:
            kept.append(after)
    return np.array([*kept, kept[0]])


def _geojson(rings: list[Float64Array]) -> dict[str, Any]:
    polygons = [[[_round_all(point) for point in ring]] for ring in rings]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _round_all(numbers: Any) -> list[float]:
    return [round(float(number), _DIGITS) for number in numbers]
