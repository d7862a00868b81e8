"""Attributes by which data are found: when and where, as catalogs of NetCDF files ask for them.

Source: Attribute Convention for Data Discovery (ACDD) 1.3.
"""

from __future__ import annotations

from typing import Any

from odc.geo.geobox import GeoBox

from stores.footprint import footprint
from stores.times import Step, Times, to_rfc3339

CONVENTIONS = "CF-1.11, ACDD-1.3"
"""What every store of ours follows."""


def extent_attributes(grid: GeoBox) -> dict[str, Any]:
    """Build the attributes of a grid's place; west > east across the antimeridian [degrees]."""
    _, (west, south, east, north) = footprint(grid)
    attributes = {
        "geospatial_lat_min": south,
        "geospatial_lat_max": north,
        "geospatial_lat_units": "degrees_north",
        "geospatial_lon_min": west,
        "geospatial_lon_max": east,
        "geospatial_lon_units": "degrees_east",
    }
    if west > east:
        return attributes  # a polygon would go around the wrong side of the globe
    corners = ((south, west), (south, east), (north, east), (north, west), (south, west))
    ring = ", ".join(f"{lat!r} {lon!r}" for lat, lon in corners)
    bounds = {"geospatial_bounds": f"POLYGON (({ring}))"}
    return attributes | bounds | {"geospatial_bounds_crs": "EPSG:4326"}


def time_coverage_attributes(step: Step, times: Times) -> dict[str, str]:
    """Build the attributes of when frames begin and end: the last ends with its step."""
    return {
        "time_coverage_start": to_rfc3339(times[0]),
        "time_coverage_end": to_rfc3339(step.add(times[-1], 1)),
        "time_coverage_duration": step.duration(step.steps_between(times[0], times[-1]) + 1),
        "time_coverage_resolution": step.duration(),
    }
