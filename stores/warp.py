"""From any grid onto the cube's: read as is where it is the same, warped where it is not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj.exceptions import ProjError
from rasterio._err import CPLE_BaseError
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.warp import reproject, transform, transform_bounds

from stores.array_types import Float32Array, Float64Array
from stores.errors import GridError
from stores.grid import crs_of, describe_grid

Scalar = TypeVar("Scalar", float, Float64Array)

ROUNDING_PX = 1e-9
"""Grids whose corners lie closer together differ by the rounding of floats only [px]."""

_RESAMPLING = {
    "nearest": Resampling.nearest,
    "mode": Resampling.mode,
    "bilinear": Resampling.bilinear,
    "cubic": Resampling.cubic,
    "average": Resampling.average,
}
_AVERAGES = ("average", "bilinear", "cubic")


@contextmanager
def reraise_transform_errors(source: GeoBox, target: GeoBox) -> Iterator[None]:
    """Reraise what cannot be transformed with the two grids it was.

    Raises:
        GridError: GDAL finds no way between them.
    """
    try:
        yield
    except (CPLE_BaseError, RasterioError, ProjError) as error:
        raise GridError(
            f"places at {describe_grid(source)} have none at {describe_grid(target)} "
            f"({error}), so nothing can be warped between them; check CRS and transform of both"
        ) from error


def warp_onto(
    values: Float32Array,
    source: GeoBox,
    target: GeoBox,
    *,
    resampling: str,
    scale: tuple[float, float] | None = None,
) -> Float32Array:
    """Bring ``values`` (y, x) from their grid onto another; NaN stays apart from values.

    The same grid gives the same values. Pixels outside the source become NaN.

    Args:
        values: on the grid ``source``.
        source: grid of the values.
        target: grid of what is returned (y, x).
        resampling: method.
        scale: target pixels per source pixel along y and x, at most 1, by which kernels are
            widened; GDAL estimates it from the shapes by default.
    """
    if is_same_grid(source, target):
        return values
    warped = np.full((target.height, target.width), np.nan, dtype=np.float32)
    with reraise_transform_errors(source, target):
        reproject(
            values,
            warped,
            src_transform=source.affine,
            src_crs=str(crs_of(source)),
            src_nodata=np.nan,
            dst_transform=target.affine,
            dst_crs=str(crs_of(target)),
            dst_nodata=np.nan,
            resampling=_RESAMPLING[resampling],
            **({} if scale is None else {"YSCALE": scale[0], "XSCALE": scale[1]}),
        )
    return warped


def pick_resampling(requested: str, source: GeoBox, target: GeoBox, *, is_classes: bool) -> str:
    """Choose how values travel between two grids; ``auto`` looks at which one is coarser.

    Raises:
        ValueError: classes would be averaged, or the method is unknown.
    """
    if requested != "auto":
        _check_method(requested, is_classes=is_classes)
        return requested
    if is_coarser(target, source):
        return "mode" if is_classes else "average"
    return "nearest" if is_classes else "bilinear"


def is_same_grid(grid: GeoBox, other: GeoBox) -> bool:
    """Return whether two grids are one, up to the rounding of floats."""
    if grid == other:
        return True
    is_comparable = grid.shape == other.shape and crs_of(grid) == crs_of(other)
    return bool(is_comparable and shift_px(grid, other) <= ROUNDING_PX)


def shift_px(grid: GeoBox, other: GeoBox) -> float:
    """Compute the largest distance of corners of two grids of one CRS [px of ``other``]."""
    inverse = ~other.affine
    corners = [(0, 0), (grid.width, 0), (0, grid.height), (grid.width, grid.height)]
    moved = [
        (apply_affine(inverse, apply_affine(grid.affine, corner)), corner) for corner in corners
    ]
    return max(math.dist(point, corner) for point, corner in moved)


def apply_affine(affine: Affine, point: tuple[Scalar, Scalar]) -> tuple[Scalar, Scalar]:
    """Map a point, or many (...); the operator differs between versions of affine."""
    a, b, c, d, e, f = list(affine)[:6]
    x, y = point
    return a * x + b * y + c, d * x + e * y + f


def is_coarser(target: GeoBox, source: GeoBox) -> bool:
    """Return whether a pixel in the middle of ``target`` covers more than one of ``source``."""
    row = target.height / 2
    col = target.width / 2
    corners = [(col, row), (col + 1, row), (col + 1, row + 1), (col, row + 1)]
    xs, ys = zip(*(apply_affine(target.affine, corner) for corner in corners), strict=True)
    with reraise_transform_errors(source, target):
        xs, ys = transform(str(crs_of(target)), str(crs_of(source)), xs, ys)
    inverse = ~source.affine
    px = [apply_affine(inverse, point) for point in zip(xs, ys, strict=True)]
    area = 0.0
    for (x0, y0), (x1, y1) in zip(px, px[1:] + px[:1], strict=True):
        area += (x0 * y1 - x1 * y0) / 2
    return abs(area) > 1 + 1e-6


def check_overlap(source: GeoBox, target: GeoBox, *, what: str) -> None:
    """Refuse a source that does not meet the grid onto which it is to be warped.

    Raises:
        GridError: the two lie apart, so that every pixel would be invalid.
    """
    box = source.boundingbox
    with reraise_transform_errors(source, target):
        left, bottom, right, top = transform_bounds(
            str(crs_of(source)), str(crs_of(target)), box.left, box.bottom, box.right, box.top
        )
    # Bounds that cross the antimeridian come back with left > right.
    spans = [(left, right)] if left <= right else [(left, np.inf), (-np.inf, right)]
    target_box = target.boundingbox
    is_apart = all(
        right <= target_box.left or left >= target_box.right for left, right in spans
    )
    if is_apart or top <= target_box.bottom or bottom >= target_box.top:
        raise GridError(
            f"{what} lies at {describe_grid(source)}, which does not meet the cube's grid "
            f"({describe_grid(target)}), so every pixel would be invalid; check CRS and "
            "transform"
        )


def _check_method(requested: str, *, is_classes: bool) -> None:
    if requested not in _RESAMPLING:
        raise ValueError(
            f"resampling={requested!r} is unknown, so nothing can be warped; "
            f"use auto, {', '.join(_RESAMPLING)}"
        )
    if is_classes and requested in _AVERAGES:
        raise ValueError(
            f"resampling={requested!r} would mix classes into classes that do not exist; "
            "use nearest, mode or auto"
        )
