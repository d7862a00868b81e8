from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from odc.geo.geobox import GeoBox

from pipeline.plots import Extent, Quantity, narrow_figures, plot_errors, plot_maps, to_png
from pipeline.plots.color_scale import ColorScale
from stores.array_types import AnyArray
from stores.grid import read_grid

Array = AnyArray
RAINFALL = Path(__file__).parents[3] / "samples/chirps_java/rainfall"
JAVA = Extent(105.0, 116.0, -9.0, -5.0, geographic=True)
RAIN = Quantity.of("mm month-1")
KOREA = Extent(700_000, 1_350_000, 1_450_000, 2_150_000, geographic=False)


def make_maps(n: int, shape: tuple[int, int] = (11, 29)) -> Array:
    maps = np.random.default_rng(0).gamma(2, 50, (n, *shape)).astype(np.float32)
    maps[:, :3, :5] = np.nan
    return maps


def drawn(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.images]


def shown(figure: Figure, panel: int = 0) -> Any:
    return drawn(figure)[panel].images[0].get_array()


def texts(figure: Figure) -> str:
    to_png(figure)  # ticks are written when they are drawn
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def draw(maps: Array, **changes: Any) -> Figure:
    labels = [f"map {k}" for k in range(len(maps))]
    words: dict[str, Any] = {"extent": JAVA, "quantity": RAIN, "title": "Rainfall"}
    return plot_maps(maps, labels, **(words | changes))


def test_all_panels_share_one_color_bar_and_its_limits() -> None:
    figure = draw(make_maps(5))
    panels = drawn(figure)
    assert len(panels) == 5
    assert len({axes.images[0].get_clim() for axes in panels}) == 1
    assert sum(axes.get_label() == "<colorbar>" for axes in figure.axes) == 1


def test_a_figure_says_units_limits_and_what_grey_means() -> None:
    said = texts(draw(make_maps(3)))
    assert "mm month⁻¹" in said
    assert "2nd to 98th percentile" in said
    assert "of the pixels lie beyond" in said
    assert "Grey: no value." in said


def test_one_wild_pixel_does_not_spoil_the_colors() -> None:
    maps = make_maps(2)
    maps[0, 5, 5] = 1e6
    figure = draw(maps)
    assert drawn(figure)[0].images[0].get_clim()[1] < 1000


def test_diverging_limits_are_symmetric_about_zero() -> None:
    maps = make_maps(2) - 20
    low, high = drawn(draw(maps, role="departure"))[0].images[0].get_clim()
    assert low == -high
    assert high > 100


def test_pixels_without_a_value_are_light_grey() -> None:
    figure = draw(make_maps(1))
    image = drawn(figure)[0].images[0]
    rgba: Any = image.to_rgba(shown(figure))
    np.testing.assert_allclose(rgba[0, 0], [0.85, 0.85, 0.85, 1], atol=0.01)


@pytest.mark.parametrize("role", ["value", "departure", "error", "width"])
def test_maps_that_are_all_nan_are_drawn_and_say_so(role: str) -> None:
    maps = make_maps(3)
    maps[1] = np.nan
    assert texts(draw(maps, role=role)).count("no valid pixel") == 1
    assert texts(draw(np.full_like(maps, np.nan), role=role)).count("no valid pixel") == 3


@pytest.mark.parametrize("value", [0.0, -7.5, 400.0, 1e-12])
def test_a_map_of_one_value_is_drawn(value: float) -> None:
    to_png(draw(np.full((1, 5, 7), value, dtype=np.float32)))


def test_land_that_touches_no_edge_and_infinite_values_are_drawn() -> None:
    maps = make_maps(1)
    maps[0, 7, 7] = np.inf
    to_png(draw(maps))


def test_more_than_twelve_maps_are_thinned_to_first_last_and_between() -> None:
    figure = draw(make_maps(37))
    said = texts(figure)
    assert len(drawn(figure)) == 12
    assert {"map 0", "map 36"} <= {axes.get_title() for axes in drawn(figure)}
    assert "12 of 37 maps shown." in said


def test_large_rasters_are_thinned_before_they_are_drawn_and_it_is_said() -> None:
    figure = draw(make_maps(1, (1201, 2003)))
    assert max(shown(figure).shape) <= 800
    assert "Every 3rd pixel drawn." in texts(figure)


def test_long_thin_rasters_are_drawn() -> None:
    to_png(draw(make_maps(2, (2, 2003)) + 1))


def test_axes_of_a_geographic_grid_are_in_degrees_and_of_a_projected_one_in_km() -> None:
    assert "110°E" in texts(draw(make_maps(1)))
    assert "6°S" in texts(draw(make_maps(1)))
    assert "2000 km" in texts(draw(make_maps(1), extent=KOREA))


def test_a_km_is_drawn_as_long_northward_as_eastward() -> None:
    north = Extent(0, 10, 55, 65, geographic=True)
    assert drawn(draw(make_maps(1), extent=north))[0].get_aspect() == pytest.approx(2.0)
    assert drawn(draw(make_maps(1), extent=KOREA))[0].get_aspect() == 1.0


def test_a_figure_describes_itself_for_those_who_cannot_see_it() -> None:
    label = str(draw(make_maps(2)).get_label())
    assert label.startswith("Rainfall. Maps: map 0, map 1; colors from ")
    assert label.endswith("mm month⁻¹.")


def test_text_that_looks_like_a_formula_is_drawn_as_it_is() -> None:
    figure = plot_maps(
        make_maps(1),
        ["$\\frac{"],
        extent=JAVA,
        quantity=Quantity.of("$x_"),
        title="$\\bad{ & <b> " * 12,
    )
    to_png(figure)


def test_the_same_maps_give_the_same_bytes() -> None:
    first, second = (to_png(draw(make_maps(2))) for _ in range(2))
    assert first == second
    assert b"Software" not in first
    assert first.startswith(b"\x89PNG")


def test_errors_are_drawn_beside_forecast_and_truth() -> None:
    truth = make_maps(6)
    forecast = make_maps(6) + 5
    labels = [f"lead {k}" for k in range(1, 7)]
    words: dict[str, Any] = {"quantity": Quantity.of("mm"), "title": "Errors"}
    for extent in (JAVA, Extent(0, 300_000, 0, 900_000, geographic=False)):
        figure = plot_errors(forecast, truth, labels, extent=extent, **words)
        panels = {axes.get_title(): axes for axes in drawn(figure)}
        assert len(panels) == 12
        error: Any = panels["lead 6, error"].images[0].get_array()
        np.testing.assert_allclose(error.compressed(), 5, rtol=1e-4)
        limits = [
            panels[f"lead 1, {name}"].images[0].get_clim() for name in ("forecast", "truth")
        ]
        assert limits[0] == limits[1]
        assert "4 of 6 maps shown." in texts(figure)


def test_maps_of_a_phone_stand_in_two_columns_above_their_color_bar() -> None:
    with narrow_figures():
        narrow = draw(make_maps(6))
        errors = plot_errors(
            make_maps(6), make_maps(6), list("abcdef"), extent=JAVA, quantity=RAIN, title="t"
        )
    to_png(narrow)
    assert len({round(axes.get_position().x0, 2) for axes in drawn(narrow)}) == 2
    (bar,) = (axes for axes in narrow.axes if axes.get_label() == "<colorbar>")
    assert all(bar.get_position().y1 < axes.get_position().y0 for axes in drawn(narrow))
    assert [axes.get_title() for axes in drawn(errors)][-2:] == ["a, error", "f, error"]


def test_maps_without_a_label_each_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 11, 29\) and 1 labels, so .*; give maps"):
        plot_maps(make_maps(2), ["one"], extent=JAVA, quantity=RAIN, title="")
    with pytest.raises(ValueError, match="give maps"):
        plot_maps(make_maps(1)[0], ["one"] * 11, extent=JAVA, quantity=RAIN, title="")


def test_unknown_colors_and_empty_places_are_refused() -> None:
    with pytest.raises(ValueError, match="kind='rainbow' names no colors; choose one of"):
        ColorScale.fit(make_maps(1), "rainbow")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="covers nothing"):
        Extent(10, 10, 0, 1, geographic=True)


def test_the_extent_of_a_grid_is_its_outer_edges() -> None:
    grid = GeoBox((3, 5), Affine(2, 0, 10, 0, -4, 50), "EPSG:5179")
    assert Extent.of(grid) == Extent(10, 20, 38, 50, geographic=False)


def test_real_rainfall_with_its_sea_is_drawn() -> None:
    paths = sorted(RAINFALL.glob("*.tif"))[:2]
    maps = []
    for path in paths:
        with rasterio.open(path, driver="GTiff") as raster:
            maps.append(raster.read(1, masked=True).filled(np.nan))
    figure = draw(np.stack(maps), extent=Extent.of(read_grid(paths[0])))
    assert shown(figure).mask.sum() > 1000
    assert len(to_png(figure)) > 10_000
