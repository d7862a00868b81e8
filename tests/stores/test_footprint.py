from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from stores.footprint import footprint

Ring = list[list[float]]


def area_of(ring: Ring) -> float:
    """Shoelace formula: positive when the ring runs counterclockwise."""
    x, y = np.array(ring).T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)


def rings_of(geometry: dict[str, object]) -> list[Ring]:
    parts = geometry["coordinates"]
    assert isinstance(parts, list)
    return [parts[0]] if geometry["type"] == "Polygon" else [part[0] for part in parts]


def test_a_geographic_grid_is_its_own_box() -> None:
    grid = GeoBox((23, 31), Affine(0.05, 0, 105, 0, -0.05, -5), "EPSG:4326")
    geometry, bbox = footprint(grid)
    assert bbox == [105, -6.15, 106.55, -5]
    assert geometry["type"] == "Polygon"
    assert area_of(rings_of(geometry)[0]) == pytest.approx(1.55 * 1.15)


def test_a_grid_whose_rows_run_north_is_outlined_counterclockwise_too() -> None:
    grid = GeoBox((10, 10), Affine(1, 0, 0, 0, 1, 5), "EPSG:4326")
    geometry, bbox = footprint(grid)
    assert bbox == [0, 5, 10, 15]
    assert area_of(rings_of(geometry)[0]) == pytest.approx(100)


def test_sides_of_a_projected_grid_follow_their_curve() -> None:
    grid = GeoBox((100, 100), Affine(10_000, 0, 4_000_000, 0, -10_000, 3_500_000), "EPSG:3035")
    geometry, bbox = footprint(grid)
    (ring,) = rings_of(geometry)
    assert len(ring) > 80
    assert area_of(ring) > 0
    corners = np.array(ring)
    assert bbox[3] > max(lat for _, lat in corners[[0, -1]])


def test_an_outline_is_cut_at_the_antimeridian() -> None:
    geometry, bbox = footprint(GeoBox((10, 10), Affine(1, 0, 175, 0, -1, 5), "EPSG:4326"))
    assert geometry["type"] == "MultiPolygon"
    assert bbox == [175, -5, -175, 5]
    assert [area_of(ring) for ring in rings_of(geometry)] == pytest.approx([50, 50])


@pytest.mark.parametrize("west", [-180, 0])
def test_the_whole_globe_is_covered_wherever_its_columns_begin(west: int) -> None:
    geometry, bbox = footprint(GeoBox((180, 360), Affine(1, 0, west, 0, -1, 90), "EPSG:4326"))
    assert bbox == [-180, -90, 180, 90]
    assert sum(area_of(ring) for ring in rings_of(geometry)) == pytest.approx(360 * 180)


def test_a_grid_around_a_pole_becomes_a_belt() -> None:
    grid = GeoBox((100, 100), Affine(50_000, 0, -2_500_000, 0, -50_000, 2_500_000), "EPSG:3031")
    geometry, bbox = footprint(grid)
    assert (bbox[0], bbox[1], bbox[2]) == (-180, -90, 180)
    assert -60 < bbox[3] < -55
    assert geometry["type"] == "Polygon"


@given(
    west=st.floats(-179, 359),
    north=st.floats(-60, 89),
    width=st.integers(1, 90),
    step=st.floats(0.1, 1),
)
def test_longitudes_stay_on_the_map_and_no_area_is_lost(
    west: float, north: float, width: int, step: float
) -> None:
    grid = GeoBox((11, width), Affine(step, 0, west, 0, -step, north), "EPSG:4326")
    geometry, bbox = footprint(grid)
    rings = rings_of(geometry)
    assert all(-180 <= lon <= 180 for ring in rings for lon, _ in ring)
    assert all(ring[0] == ring[-1] for ring in rings)
    assert sum(area_of(ring) for ring in rings) == pytest.approx(11 * width * step**2, rel=1e-4)
    assert bbox[1] < bbox[3]
