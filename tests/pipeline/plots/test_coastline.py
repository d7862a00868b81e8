import numpy as np
import pytest
from affine import Affine
from matplotlib.axes import Axes
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from pipeline.plots import Extent, Quantity, plot_maps, to_png
from pipeline.plots.coastline import Box, Polylines, find_coastline

JAVA: Box = (105.0, -9.0, 116.0, -5.0)
KOREA: Box = (700_000.0, 1_450_000.0, 1_350_000.0, 2_150_000.0)


def distance_to(lines: Polylines, x: float, y: float) -> float:
    return float(np.nanmin(np.hypot(lines[0] - x, lines[1] - y)))


def map_of(grid: GeoBox) -> Axes:
    figure = plot_maps(
        np.ones((1, *grid.shape)),
        ["a"],
        extent=Extent.of(grid),
        quantity=Quantity.of("K"),
        title="t",
    )
    to_png(figure)
    return figure.axes[0]


def test_the_coastline_passes_where_coasts_are() -> None:
    lines = find_coastline(JAVA, None, geographic=True)
    assert lines.shape[1] > 200
    assert distance_to(lines, 114.35, -8.75) < 0.1  # the south-eastern tip of Java
    assert distance_to(lines, 110.0, -7.4) > 0.4  # its middle


def test_every_longitude_has_the_coast_that_it_has_a_turn_further() -> None:
    west, south, east, north = -75.0, 35.0, -60.0, 50.0
    lines = find_coastline((west, south, east, north), None, geographic=True)
    turned = find_coastline((west + 360, south, east + 360, north), None, geographic=True)
    assert lines.shape[1] > 100
    np.testing.assert_allclose(turned[0] - 360, lines[0])
    world = find_coastline((0.0, -90.0, 360.0, 90.0), None, geographic=True)
    assert np.nanmax(world[0]) > 359


def test_a_projected_map_has_the_coastline_at_the_same_places() -> None:
    lines = find_coastline(KOREA, "EPSG:5179", geographic=False)
    lonlat = find_coastline((120.0, 30.0, 135.0, 42.0), None, geographic=True)
    to_map = Transformer.from_crs("OGC:CRS84", "EPSG:5179", always_xy=True)
    busan = to_map.transform(129.08, 35.1)
    assert distance_to(lines, *busan) < 20_000
    assert distance_to(lonlat, 129.08, 35.1) < 0.2
    seoul = to_map.transform(127.0, 37.5)
    assert distance_to(lines, *seoul) > 15_000


@pytest.mark.parametrize(
    ("crs", "box"),
    [
        ("EPSG:3832", (1e6, -5e6, 5e6, 2e6)),  # the Pacific, across the antimeridian
        ("EPSG:3413", (-3e6, -3e6, 3e6, 3e6)),  # the North Pole
        ("+proj=geos +h=35785831 +lon_0=0", (-5.5e6, -5.5e6, 5.5e6, 5.5e6)),  # a full disk
    ],
)
def test_no_line_is_torn_across_a_map(crs: str, box: Box) -> None:
    lines = find_coastline(box, crs, geographic=False)
    assert np.isfinite(lines).sum() > 500
    lengths = np.hypot(*np.diff(lines, axis=1))
    assert np.nanmax(lengths) < 1e6


@pytest.mark.parametrize("crs", [None, 'LOCAL_CS["a floor", UNIT["m", 1]]'])
def test_a_map_of_no_place_on_the_globe_has_no_coastline(crs: str | None) -> None:
    assert not find_coastline((0.0, 0.0, 1e5, 1e5), crs, geographic=False).size


def test_maps_of_any_grid_on_the_globe_are_drawn_with_it_and_keep_their_edges() -> None:
    java = GeoBox((40, 110), Affine(0.1, 0, 105, 0, -0.1, -5), "EPSG:4326")
    korea = GeoBox((70, 65), Affine(1e4, 0, 7e5, 0, -1e4, 2.15e6), "EPSG:5179")
    for grid in (java, korea):
        axes = map_of(grid)
        edges = Extent.of(grid)
        assert len(axes.lines) == 1
        assert axes.get_xlim() == (edges.west, edges.east)
        assert axes.get_ylim() == (edges.south, edges.north)
    assert not map_of(GeoBox((4, 4), Affine(1, 0, 0, 0, -1, 4), None)).lines
