"""Grids: an odc-geo GeoBox is their identity, compared exactly."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from pyproj.exceptions import ProjError
from rasterio.errors import RasterioError

from stores.array_types import Float64Array
from stores.digests import digest_json
from stores.errors import GridError
from stores.names import SPATIAL_REF, X, Y

Attributes = dict[str, Any]

_LONGEST_SIDE = 1 << 22  # [px]: ten meters around the globe
_RAW = "https://raw.githubusercontent.com/zarr-conventions"
_WEB = "https://github.com/zarr-conventions"
_CONVENTIONS = (
    ("geo-proj", "proj:", "f17cb550-5864-4468-aeb7-f3180cfb622f"),
    ("spatial", "spatial", "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4"),
)


def read_grid(path: Path, *, named: str | None = None) -> GeoBox:
    """Read the grid of a GeoTIFF, for a cube.

    Args:
        path: of the file.
        named: how a person calls it, where that is not its path.

    Raises:
        GridError: the file cannot be read, or its grid cannot be that of a cube.
    """
    if not path.is_file():  # a FIFO would wait for ever
        what = f"{named} is no file (it stands for {path})" if named else f"{path} is no file"
        raise GridError(f"{what}, so no grid can be taken from it; name a GeoTIFF in grid.like")
    try:
        with rasterio.open(path, driver="GTiff") as raster:
            return check_grid(raster_grid(raster), what=f"the grid of {path}")
    except RasterioError as error:
        cause = error.__cause__ or error
        raise GridError(
            f"{path} cannot be read ({cause}), so no grid can be taken from it; name a GeoTIFF"
        ) from error


def raster_grid(raster: rasterio.DatasetReader) -> GeoBox:
    """Return the grid of an open raster.

    Raises:
        GridError: the file does not say where it lies.
    """
    if raster.crs is None:
        raise GridError(
            f"{raster.name} names no CRS, so its pixels cannot be placed; "
            "assign one with 'gdal_edit.py -a_srs EPSG:... FILE'"
        )
    _check_pixels(raster.transform, what=str(raster.name))
    return GeoBox((raster.height, raster.width), raster.transform, raster.crs)


def build_grid(crs: str, transform: list[float], shape: tuple[int, int]) -> GeoBox:
    """Build a grid from a CRS, six affine numbers (a, b, c, d, e, f) and a shape (y, x).

    Raises:
        GridError: it cannot be that of a cube.
    """
    affine = Affine(*transform)
    _check_pixels(affine, what="the grid")
    try:
        grid = GeoBox(shape, affine, crs)
    except (ProjError, ValueError) as error:
        raise GridError(
            f"the grid's crs={crs[:80]!r} is no coordinate reference system ({error}), so "
            "pixels cannot be placed; write its number, such as EPSG:4326, or its WKT"
        ) from error
    return check_grid(grid, what="the grid")


def check_grid(grid: GeoBox, *, what: str) -> GeoBox:
    """Return the grid, if a cube can lie on it.

    Raises:
        GridError: it is rotated or sheared, has no pixel, or more than an axis can have.
    """
    a, b, c, d, e, f = list(grid.affine)[:6]
    if b or d:
        raise GridError(
            f"{what} is rotated or sheared (transform {[a, b, c, d, e, f]}), so y and x are no "
            "coordinates; warp the reference raster to a north-up grid with gdalwarp"
        )
    if min(grid.shape) < 1 or max(grid.shape) > _LONGEST_SIDE:
        raise GridError(
            f"{what} has {grid.height} x {grid.width} px, but a side has 1 to {_LONGEST_SIDE} "
            "px, so no cube can lie on it; correct its shape"
        )
    return grid


def _check_pixels(affine: Affine, *, what: str) -> None:
    """Refuse a transform that gives pixels no place or no size.

    Raises:
        GridError: it is that of a file that declares none, or cannot be inverted.
    """
    numbers = list(affine)[:6]
    if not all(map(math.isfinite, numbers)) or affine.determinant == 0:
        raise GridError(
            f"{what} has pixels of no size or place (transform {numbers}), so nothing can be "
            "placed on them; correct the transform, e.g. with 'gdal_edit.py -a_ullr ... FILE'"
        )


def check_latitudes(grid: GeoBox) -> None:
    """Refuse a grid of degrees that leaves the globe; half a pixel beyond a pole is usual.

    Raises:
        GridError: shows where it ends.
    """
    box = grid.boundingbox
    max_latitude = 90 + abs(grid.affine.e)
    if crs_of(grid).geographic and (box.bottom < -max_latitude or box.top > max_latitude):
        raise GridError(
            f"the grid reaches from latitude {box.bottom:g} to {box.top:g}, so its pixels lie "
            "nowhere; correct grid.transform, or state the CRS in which it is written"
        )


def to_json(grid: GeoBox) -> Attributes:
    """Write a grid as plain JSON, exactly (floats keep all their digits)."""
    return {
        "crs": crs_of(grid).to_wkt(),
        "epsg": crs_of(grid).to_epsg(),
        "transform": list(grid.affine)[:6],
        "shape": list(grid.shape),
    }


def from_json(written: Attributes) -> GeoBox:
    """Read a grid that ``to_json`` wrote."""
    return build_grid(written["crs"], written["transform"], tuple(written["shape"]))


def grid_fingerprint(grid: GeoBox) -> str:
    """Return a grid's digest in 12 hexadecimal digits: equal digests mean equal grids."""
    return digest_json([crs_name(grid), list(grid.affine)[:6], list(grid.shape)])[:12]


def crs_of(grid: GeoBox) -> CRS:
    """Return the CRS of a grid; a GeoBox may lack one, a grid of ours may not."""
    if grid.crs is None:
        raise GridError("the grid has no CRS, so its pixels cannot be placed; state one")
    return grid.crs


def meters_per_unit(crs: CRS) -> float:
    """Return the length of one unit of a projected CRS [m]."""
    axes = crs.proj.axis_info
    return float(axes[0].unit_conversion_factor) if axes else 1.0


def crs_name(grid: GeoBox) -> str:
    """Return the name of a CRS: ``EPSG:4326``, or its WKT when it has no number."""
    epsg = crs_of(grid).to_epsg()
    return f"EPSG:{epsg}" if epsg else str(crs_of(grid).to_wkt())


def describe_grid(grid: GeoBox) -> str:
    """Describe a grid in one line."""
    a, _, c, _, e, f = list(grid.affine)[:6]
    rows, cols = grid.shape
    unit = "degree" if crs_of(grid).geographic else "m"
    size = f"{a:.10g} x {-e:.10g} {unit}"
    corner = f"({c:.10g}, {f:.10g})"
    epsg = crs_of(grid).to_epsg()
    crs = f"EPSG:{epsg}" if epsg else crs_of(grid).proj.name
    return f"{rows} x {cols} px of {size}, {crs}, corner {corner}"


def check_same_grid(got: GeoBox, expected: GeoBox, *, what: str, hint: str) -> None:
    """Refuse a grid that is not exactly the expected one.

    Raises:
        GridError: CRS, transform or shape differ; the message shows both.
    """
    if got != expected:
        raise GridError(
            f"{what} lies on another grid ({describe_grid(got)}) than expected "
            f"({describe_grid(expected)}), so its pixels would be misplaced; {hint}"
        )


def pixel_centers(grid: GeoBox) -> tuple[Float64Array, Float64Array]:
    """Compute the pixel centers along y (y,) and along x (x,) in the grid's CRS.

    Raises:
        GridError: the grid is rotated, so rows and columns have no single coordinate.
    """
    a, _, c, _, e, f = list(check_grid(grid, what="the grid").affine)[:6]
    rows, cols = grid.shape
    return f + e * (np.arange(rows) + 0.5), c + a * (np.arange(cols) + 0.5)


def cf_coordinates(grid: GeoBox) -> dict[str, tuple[Float64Array, Attributes]]:
    """Build the values and CF attributes of ``y`` (y,) and ``x`` (x,)."""
    ys, xs = pixel_centers(grid)
    if crs_of(grid).geographic:
        north = {"standard_name": "latitude", "long_name": "latitude", "units": "degrees_north"}
        east = {"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east"}
    else:
        name = "projection_{}_coordinate"
        factor = meters_per_unit(crs_of(grid))
        units = "m" if factor == 1 else f"{factor!r} m"  # UDUNITS reads both
        north = {"standard_name": name.format("y"), "long_name": "northing", "units": units}
        east = {"standard_name": name.format("x"), "long_name": "easting", "units": units}
    return {Y: (ys, north | {"axis": "Y"}), X: (xs, east | {"axis": "X"})}


def cf_grid_mapping(grid: GeoBox) -> Attributes:
    """Build the attributes of the ``spatial_ref`` variable: CF's, and GDAL's two.

    Source: CF conventions 1.11, appendix F; ``crs_wkt`` and ``GeoTransform`` as rioxarray
    reads them.
    """
    attributes: Attributes = dict(crs_of(grid).proj.to_cf())
    wkt = crs_of(grid).to_wkt()
    a, b, c, d, e, f = list(grid.affine)[:6]
    attributes |= {
        "long_name": "coordinate reference system",
        "crs_wkt": wkt,
        SPATIAL_REF: wkt,
        "GeoTransform": " ".join(repr(float(number)) for number in (c, a, b, f, d, e)),
    }
    return attributes


def geozarr_attributes(grid: GeoBox) -> Attributes:
    """Build the attributes of a group that place its arrays for clients that read GeoZarr.

    Source: Zarr conventions ``proj:`` (one of code and WKT, never both) and ``spatial:``, v1.
    """
    epsg = crs_of(grid).to_epsg()
    wkt = str(crs_of(grid).to_wkt())
    box = grid.boundingbox
    return {
        "zarr_conventions": [
            {
                "schema_url": f"{_RAW}/{folder}/refs/tags/v1/schema.json",
                "spec_url": f"{_WEB}/{folder}/blob/v1/README.md",
                "uuid": uuid,
                "name": name,
            }
            for folder, name, uuid in _CONVENTIONS
        ],
        **({"proj:code": f"EPSG:{epsg}"} if epsg else {"proj:wkt2": wkt}),
        "spatial:dimensions": [Y, X],
        "spatial:bbox": [box.left, box.bottom, box.right, box.top],
        "spatial:transform": list(grid.affine)[:6],
        "spatial:shape": list(grid.shape),
        "spatial:registration": "pixel",
    }


def from_cf(mapping: Attributes, shape: tuple[int, int]) -> GeoBox:
    """Read back a grid from what ``cf_grid_mapping`` wrote, exactly."""
    c, a, b, f, d, e = (float(number) for number in str(mapping["GeoTransform"]).split())
    return build_grid(str(mapping["crs_wkt"]), [a, b, c, d, e, f], shape)
