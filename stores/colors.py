"""Colors by quantity: one table, found by the CF standard name, or by units without one."""

from __future__ import annotations

import re
from dataclasses import dataclass

WIDTH = "BuPu"  # of an interval, whatever the quantity: never taken for its values


@dataclass(frozen=True, slots=True)
class Colors:
    """Color maps of one quantity, and how the quantity is found."""

    value: str
    departure: str
    names: str = r"(?!)"
    """Pattern of CF standard names."""
    units: str = r"(?!)"
    """Pattern of whole units, for variables without a standard name."""


# Wet is green or blue and dry is brown; warm is red and cold is blue.
COLORS = {
    "water": Colors(
        "YlGnBu",
        "BrBG",
        names="precipitation|rainfall|snowfall|moisture|humidity|runoff|water_content",
        units=r"(mm|kg ?m-2|kg/m2)([ /]?(month|year|day|hour|d|h|hr|s|a)(-1)?)?",
    ),
    "temperature": Colors(
        "YlOrRd",
        "RdBu_r",
        names="temperature",
        units="K|kelvin|degC|degree_C|degrees_C|[Cc]elsius|°C",
    ),
    "vegetation": Colors("YlGn", "BrBG", names="vegetation|leaf_area|productivity"),
}
UNKNOWN = Colors("viridis", "RdBu_r")


def find_colors(units: str, standard_name: str = "") -> Colors:
    """Find the colors of a quantity; units decide only where no name is given."""
    for colors in COLORS.values():
        by_name = standard_name and re.search(colors.names, standard_name)
        by_units = not standard_name and re.fullmatch(colors.units, units.strip())
        if by_name or by_units:
            return colors
    return UNKNOWN
