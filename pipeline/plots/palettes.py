"""What a map shows of a quantity, and the color map that it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from stores.colors import DEFAULT_COLORS, INTERVAL_WIDTH_COLORMAP, ColorMaps, find_colormaps

PaletteKind = Literal["sequential", "diverging"]
Role = Literal["value", "departure", "error", "width"]
"""What a map shows of a quantity; departures and errors stand about zero."""

ERROR = "PuOr"  # of every quantity: never taken for its values


@dataclass(frozen=True, slots=True)
class Palette:
    """A color map of matplotlib, and whether it stands about zero."""

    kind: PaletteKind
    name: str


@dataclass(frozen=True, slots=True)
class Quantity:
    """What maps show: its units, and the colors of its values and departures."""

    units: str
    colors: ColorMaps = DEFAULT_COLORS

    @classmethod
    def of(cls, units: str, standard_name: str = "") -> Self:
        """Find the colors of a quantity; units decide only where no name is given."""
        return cls(units, find_colormaps(units, standard_name))

    def palette(self, role: Role) -> Palette:
        """Choose the colors of what a map shows of the quantity."""
        match role:
            case "value":
                return Palette("sequential", self.colors.sequential)
            case "departure":
                return Palette("diverging", self.colors.diverging)
            case "error":
                return Palette("diverging", ERROR)
            case "width":
                return Palette("sequential", INTERVAL_WIDTH_COLORMAP)
