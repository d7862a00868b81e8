"""Colors by quantity: one table, found by the CF standard name, or by units without one."""

from __future__ import annotations

import re
from dataclasses import dataclass

INTERVAL_WIDTH_COLORMAP = "BuPu"  # whatever the quantity: never taken for its values


@dataclass(frozen=True, slots=True)
class ColorMaps:
    """Color maps of one quantity, and how the quantity is found."""

    sequential: str
    diverging: str
    standard_name_pattern: str = r"(?!)"
    """Pattern of CF standard names."""
    units_pattern: str = r"(?!)"
    """Pattern of whole units, for variables without a standard name."""


# Wet is green or blue and dry is brown; warm is red and cold is blue.
COLORS = {
    "water": ColorMaps(
        "YlGnBu",
        "BrBG",
        standard_name_pattern="precipitation|rainfall|snowfall|moisture|humidity|runoff|water_content",
        units_pattern=r"(mm|kg ?m-2|kg/m2)([ /]?(month|year|day|hour|d|h|hr|s|a)(-1)?)?",
    ),
    "temperature": ColorMaps(
        "YlOrRd",
        "RdBu_r",
        standard_name_pattern="temperature",
        units_pattern="K|kelvin|degC|degree_C|degrees_C|[Cc]elsius|°C",
    ),
    "vegetation": ColorMaps(
        "YlGn", "BrBG", standard_name_pattern="vegetation|leaf_area|productivity"
    ),
}
DEFAULT_COLORS = ColorMaps("viridis", "RdBu_r")


def find_colormaps(units: str, standard_name: str = "") -> ColorMaps:
    """Find the colors of a quantity; units decide only where no name is given."""
    for colors in COLORS.values():
        by_name = standard_name and re.search(colors.standard_name_pattern, standard_name)
        by_units = not standard_name and re.fullmatch(colors.units_pattern, units.strip())
        if by_name or by_units:
            return colors
    return DEFAULT_COLORS
