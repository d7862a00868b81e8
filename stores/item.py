"""The STAC item of one issue: where, when, what, and the digest of every file."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rasterio
from odc.geo.geobox import GeoBox

from stores import grid as grids
from stores.arrays import get_array
from stores.cog import list_cogs
from stores.digests import FileDigest
from stores.footprint import footprint
from stores.forecast import Forecast
from stores.issue import CATALOG, COGS, FORECAST, ITEM, MANIFEST, IssueKey
from stores.renders import build_render, pick_colormap
from stores.times import to_rfc3339

STAC_VERSION = "1.1.0"
JSON = "application/json"
GEOJSON = "application/geo+json"

_EXTENSION = "https://stac-extensions.github.io/{}/schema.json"
FILE, FORECASTS, PROJECTION, RASTER, RENDER, VERSION = (
    _EXTENSION.format(name)
    for name in (
        "file/v2.1.0",
        "forecast/v0.2.0",
        "projection/v2.0.0",
        "raster/v2.0.0",
        "render/v2.0.0",
        "version/v1.2.0",
    )
)

_SPDX = re.compile(r"[\w.+-]+")
_SHA256 = "1220"  # multihash: function sha2-256, 32 bytes
_DEGREE_M = math.radians(1) * 6_371_008.8  # on the sphere of the mean Earth radius
_TYPES = {
    ".html": "text/html",
    ".json": JSON,
    ".csv": "text/csv",
    ".png": "image/png",
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
}


def build_item(
    forecast: Forecast,
    key: IssueKey,
    *,
    name: str,
    revision: int,
    previous: str | None,
    files: Mapping[str, FileDigest],
) -> dict[str, Any]:
    """Describe an issue as a STAC item.

    Args:
        forecast: the committed store.
        key: what the issue follows from.
        name: folder of the issue, below that of its recipe.
        revision: 1 for the first issue of its init_time.
        previous: folder of the revision before this one.
        files: digests of all other files of the issue.
    """
    geometry, bbox = footprint(forecast.grid)
    links = [_link("root", f"../../../{CATALOG}"), _link("parent", f"../{CATALOG}")]
    if previous:
        links.append(_link("predecessor-version", f"../{previous}/{ITEM}", GEOJSON))
    assets = _assets(forecast, files)
    renders = _renders(forecast, assets)
    rasters = [PROJECTION, RASTER, RENDER] if renders else [PROJECTION]
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": [FILE, FORECASTS, *rasters, VERSION],
        "id": f"{key.name}-{name}",
        "geometry": geometry,
        "bbox": bbox,
        "properties": _properties(forecast, key) | {"version": str(revision)} | renders,
        "links": links,
        "assets": assets,
    }


def resolution_m(grid: GeoBox) -> float:
    """Compute the mean of the height and width of a pixel at the center of the grid [m]."""
    a, _, _, _, e, _ = list(grid.affine)[:6]
    crs = grids.crs_of(grid)
    if not crs.geographic:
        return float(round((abs(a) + abs(e)) / 2 * grids.meters_per_unit(crs), 3))
    ys, _ = grids.pixel_centers(grid)
    width = abs(a) * math.cos(math.radians(float(ys.mean())))
    return float(round((width + abs(e)) / 2 * _DEGREE_M, 3))


def _properties(forecast: Forecast, key: IssueKey) -> dict[str, Any]:
    crs = grids.crs_of(forecast.grid)
    epsg = crs.to_epsg()
    return _license_properties(forecast) | {
        "title": str(forecast.group.attrs["title"]),
        "datetime": to_rfc3339(forecast.init),
        "start_datetime": to_rfc3339(forecast.times[0]),
        "end_datetime": to_rfc3339(forecast.step.add(forecast.times[-1], 1)),
        "forecast:reference_datetime": to_rfc3339(forecast.init),
        "forecast:horizon": forecast.step.duration(len(forecast.times)),
        "proj:code": f"EPSG:{epsg}" if epsg else None,
        "proj:wkt2": str(crs.to_wkt()),
        "proj:projjson": crs.proj.to_json_dict(),
        "proj:shape": list(forecast.grid.shape),
        "proj:transform": list(forecast.grid.affine)[:6],
        "cubecast:issue": key.digest,
        "cubecast:recipe": key.recipe,
        "cubecast:bundles": forecast.bundles,
        "cubecast:members": forecast.members,
        "cubecast:cube": key.cube,
    }


def _license_properties(forecast: Forecast) -> dict[str, Any]:
    """Build the properties of who made it and how it may be used, where the recipe says so.

    A licence that is a sentence and no SPDX expression is ``other``.
    """
    attributes: dict[str, Any] = dict(forecast.group.attrs)
    properties: dict[str, Any] = {}
    if "license" in attributes:
        properties["license"] = (
            attributes["license"] if _SPDX.fullmatch(attributes["license"]) else "other"
        )
    if "institution" in attributes:
        properties["providers"] = [{"name": attributes["institution"], "roles": ["producer"]}]
    names = {"description": "summary", "keywords": "keywords"}
    properties |= {stac: attributes[acdd] for stac, acdd in names.items() if acdd in attributes}
    if "keywords" in properties:
        properties["keywords"] = properties["keywords"].split(", ")
    return properties


def _renders(forecast: Forecast, assets: Mapping[str, Any]) -> dict[str, Any]:
    """Build how the COGs may be drawn; {} without them."""
    renders = {}
    for variable in forecast.variables:
        frames = {
            key: band["statistics"]
            for key, asset in assets.items()
            for band in asset.get("bands", ())
            if band["name"] == variable
        }
        if frames:
            attributes = forecast.attributes(variable)
            title = f"{attributes.get('long_name', variable)} [{attributes['units']}]"
            renders[variable] = build_render(title, pick_colormap(attributes), frames)
    return {"renders": renders} if renders else {}


def _assets(forecast: Forecast, files: Mapping[str, FileDigest]) -> dict[str, Any]:
    assets: dict[str, Any] = {
        "forecast": {
            "href": f"./{FORECAST}",
            "type": "application/vnd.zarr; version=3",
            "title": "all variables and times; open with xarray.open_zarr",
            "roles": ["data"],
        },
        "manifest": {"href": f"./{MANIFEST}", "type": JSON, "roles": ["metadata"]},
    }
    for name, (variable, lead) in list_cogs(forecast).items():
        path = f"{COGS}/{name}"
        if path in files:
            assets[name.removesuffix(".tif")] = _file(path, files[path], ["data"]) | _frame(
                forecast, variable, lead, path
            )
    for path in sorted(files):
        if "/" not in path and path != ITEM:
            assets[path.partition(".")[0]] = _file(path, files[path], ["overview"])
    return assets


def _file(path: str, digest: FileDigest, roles: list[str]) -> dict[str, Any]:
    return {
        "href": f"./{path}",
        "type": _TYPES.get(Path(path).suffix, "application/octet-stream"),
        "roles": roles,
        "file:size": digest["size"],
        "file:checksum": _SHA256 + digest["sha256"],
    }


def _frame(forecast: Forecast, variable: str, lead: int, path: str) -> dict[str, Any]:
    attributes = dict(get_array(forecast.group, variable).attrs)
    band = {
        "name": variable,
        "description": str(attributes.get("long_name", variable)),
        "data_type": "float32",
        "nodata": "nan",
        "unit": str(attributes["units"]),
        "statistics": _statistics(forecast.path.parent / path),
        "raster:spatial_resolution": resolution_m(forecast.grid),
    }
    return {
        "title": f"{band['description']}, {forecast.label(lead)}",
        "datetime": to_rfc3339(forecast.times[lead - 1]),
        "forecast:horizon": forecast.step.duration(lead),
        "forecast:variable": str(attributes.get("standard_name", variable)),
        "bands": [band],
    }


def _statistics(path: Path) -> dict[str, float]:
    """Read the statistics that the COG carries."""
    with rasterio.open(path, driver="GTiff") as raster:
        tags = raster.tags(1)
    prefix = "STATISTICS_"
    return {
        name.removeprefix(prefix).lower(): float(value)
        for name, value in sorted(tags.items())
        if name.startswith(prefix)
    }


def _link(rel: str, href: str, media_type: str = JSON) -> dict[str, str]:
    return {"rel": rel, "href": href, "type": media_type}
