from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import colormaps

from pipeline.plots.color_scale import ColorScale
from pipeline.plots.palettes import ERROR, Quantity, Role
from stores.array_types import AnyArray
from stores.colors import COLORS, DEFAULT_COLORS, INTERVAL_WIDTH_COLORMAP
from stores.renders import pick_colormap

Array = AnyArray

# How people without one kind of cone see linear RGB: Machado, Oliveira and Fernandes (2009),
# doi:10.1109/TVCG.2009.113, table of severity 1.
SIGHT = {
    "all cones": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "no L cones": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no M cones": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "no S cones": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_XYZ = [[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]]
WHITE = (0.9505, 1.0, 1.089)
NEXT, OPPOSITE = 4.0, 20.0  # CIE76 differences; 2.3 is just noticeable

VALUES = sorted(
    {colors.sequential for colors in [*COLORS.values(), DEFAULT_COLORS]}
    | {INTERVAL_WIDTH_COLORMAP}
)
DEPARTURES = sorted(
    {colors.diverging for colors in [*COLORS.values(), DEFAULT_COLORS]} | {ERROR}
)


def lab_of(rgb: Array, sight: str) -> Array:
    """Turn sRGB colors (n, 3) into CIE Lab, as somebody sees them."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(SIGHT[sight]).T, 0, 1)
    xyz = seen @ np.array(TO_XYZ).T / WHITE
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    light, green_red, blue_yellow = f[:, 1], f[:, 0] - f[:, 1], f[:, 1] - f[:, 2]
    return np.stack([116 * light - 16, 500 * green_red, 200 * blue_yellow], axis=1)


def differences(name: str, n: int, sight: str) -> tuple[float, float]:
    """Give the least difference of neighboring classes, and of the outer ones about zero."""
    lab = lab_of(colormaps[name].resampled(n)(np.arange(n))[:, :3], sight)
    neighbors = np.linalg.norm(np.diff(lab, axis=0), axis=1)
    sides = np.linalg.norm(lab - lab[::-1], axis=1)
    return float(neighbors.min()), float(sides[: n // 2 - 1].min())


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("name", [*VALUES, *DEPARTURES])
def test_classes_stay_distinguishable_with_any_color_vision(name: str, sight: str) -> None:
    for n in (7, 8, 9):
        neighbors, sides = differences(name, n, sight)
        assert neighbors > NEXT
        assert name not in DEPARTURES or sides > OPPOSITE


def test_the_check_of_color_vision_catches_red_beside_green() -> None:
    assert differences("RdYlGn", 8, "all cones")[1] > OPPOSITE
    assert differences("RdYlGn", 8, "no M cones")[1] < OPPOSITE


@pytest.mark.parametrize(
    ("units", "standard_name", "value", "departure"),
    [
        ("mm month-1", "lwe_precipitation_rate", "YlGnBu", "BrBG"),
        ("mm month-1", "", "YlGnBu", "BrBG"),
        ("mm", "", "YlGnBu", "BrBG"),
        ("kg m-2 s-1", "precipitation_flux", "YlGnBu", "BrBG"),
        ("K", "air_temperature", "YlOrRd", "RdBu_r"),
        ("degC", "", "YlOrRd", "RdBu_r"),
        ("mm", "height_above_geoid", "viridis", "RdBu_r"),
        ("1e-6", "mole_fraction_of_carbon_dioxide_in_air", "viridis", "RdBu_r"),
        ("1", "", "viridis", "RdBu_r"),
    ],
)
def test_colors_follow_the_standard_name_or_else_the_units(
    units: str, standard_name: str, value: str, departure: str
) -> None:
    quantity = Quantity.of(units, standard_name)
    roles: tuple[Role, ...] = ("value", "departure", "error", "width")
    names = tuple(quantity.palette(role).name for role in roles)
    assert names == (value, departure, "PuOr", "BuPu")


def test_rain_departs_from_brown_to_green_and_temperature_from_blue_to_red() -> None:
    def ends(quantity: Quantity) -> Array:
        palette = quantity.palette("departure")
        colors = ColorScale.fit(np.array([-90.0, 40.0]), palette.kind, palette.name).cmap
        return np.array([colors(0), colors(colors.N - 1)])[:, :3]

    dry, wet = ends(Quantity.of("mm"))
    assert dry[0] > dry[1] > dry[2]  # brown
    assert wet[1] > max(wet[0], wet[2])  # green
    cold, warm = ends(Quantity.of("K"))
    assert cold[2] > cold[0]
    assert warm[0] > warm[2]


@given(
    low=st.floats(-1e6, 1e6),
    span=st.floats(1e-3, 1e6),
    kind=st.sampled_from(["sequential", "diverging"]),
)
def test_seven_to_nine_classes_with_round_limits_hold_all_values(
    low: float, span: float, kind: Any
) -> None:
    values = np.linspace(low, low + span, 400)
    color_scale = ColorScale.fit(values, kind)
    widths = np.diff(color_scale.limits)
    assert 7 <= len(widths) <= 9
    np.testing.assert_allclose(widths, widths[0], rtol=1e-6)
    assert float(f"{widths[0]:.2g}") == pytest.approx(widths[0], rel=1e-6)
    below, above = np.percentile(values, [2, 98])
    assert color_scale.low <= below + 1e-6 * widths[0]
    assert color_scale.high >= above - 1e-6 * widths[0]
    assert kind == "sequential" or 0.0 in color_scale.limits


def test_rain_is_cut_at_hundreds_rather_than_at_what_the_percentiles_say() -> None:
    assert ColorScale.fit(np.linspace(3, 770, 500), "sequential").limits == tuple(
        float(100 * k) for k in range(9)
    )
    assert ColorScale.fit(np.linspace(-197, 61, 500), "diverging").limits == tuple(
        float(50 * k) for k in range(-4, 5)
    )


@pytest.mark.parametrize("name", ["rainfall_rate", "air_temperature", "leaf_area_index"])
def test_a_tile_server_draws_a_quantity_in_the_colors_of_its_page(name: str) -> None:
    shown = Quantity.of("1", name).palette("value").name
    assert pick_colormap({"units": "1", "standard_name": name}) == shown.lower()
