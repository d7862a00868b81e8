"""Where a map lies, and the ticks of its axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from odc.geo.geobox import GeoBox

from pipeline.plots.coastline import draw_coastline
from pipeline.plots.style import TEXT_COLOR, is_narrow


@dataclass(frozen=True, slots=True)
class Extent:
    """Outer edges of a north-up raster in its CRS [degree or m]."""

    west: float
    east: float
    south: float
    north: float
    geographic: bool
    """Whether the CRS counts degrees; meters otherwise."""
    crs: str | None = field(default=None, compare=False)
    """The CRS as WKT; without one, meters have no place on the globe."""

    def __post_init__(self) -> None:
        if not (self.west < self.east and self.south < self.north):
            raise ValueError(
                f"{self} covers nothing, so a map has no place; "
                "give west < east and south < north"
            )

    @classmethod
    def of(cls, grid: GeoBox) -> Self:
        """Read the edges of a grid."""
        box = grid.boundingbox
        crs = grid.crs
        return cls(
            west=box.left,
            east=box.right,
            south=box.bottom,
            north=box.top,
            geographic=bool(crs and crs.geographic),
            crs=crs.to_wkt() if crs else None,
        )

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """Return the edges in matplotlib's order."""
        return self.west, self.east, self.south, self.north

    @property
    def aspect(self) -> float:
        """How long one unit of y is drawn for one of x, so that a km is a km both ways."""
        if not self.geographic:
            return 1.0
        middle = min(abs(self.north + self.south) / 2, 75.0)
        return 1.0 / math.cos(math.radians(middle))

    @property
    def ratio(self) -> float:
        """Width of the drawn map divided by its height."""
        return (self.east - self.west) / ((self.north - self.south) * self.aspect)


def style_map_axes(axes: Axes, extent: Extent, *, left: bool, bottom: bool) -> None:
    """Draw a coastline and ticks in degrees or km on a map; labels only at the outer maps."""
    axes.set_xlim(extent.west, extent.east)
    axes.set_ylim(extent.south, extent.north)
    axes.set_aspect(extent.aspect)
    box = extent.west, extent.south, extent.east, extent.north
    draw_coastline(axes, box, extent.crs, geographic=extent.geographic)
    axes.tick_params(labelsize=8, colors=TEXT_COLOR, length=2.5)
    label_ticks(axes.xaxis, extent, shown=bottom)
    label_ticks(axes.yaxis, extent, shown=left)
    for spine in axes.spines.values():
        spine.set_linewidth(0.6)
        spine.set_color("#888888")


def label_ticks(axis: XAxis | YAxis, extent: Extent, *, shown: bool) -> None:
    """Set the ticks of an axis of a map, or none, and then leave it out of the layout.

    A layout measures the labels of every axis, and most maps of a figure show none.
    """
    axis.set_in_layout(shown)
    if not shown:
        axis.set_major_locator(NullLocator())
        return
    signs, n_ticks = ("EW", _n_ticks_across(extent)) if axis.axis_name == "x" else ("NS", 4)
    axis.set_major_locator(MaxNLocator(n_ticks, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(_tick_formatter(signs, extent)))


def _n_ticks_across(extent: Extent) -> int:
    """Choose for how many ticks there is room below a map."""
    if is_narrow():
        return 3
    return 6 if extent.ratio > 2 else 4 if extent.ratio > 0.8 else 3


def _tick_formatter(signs: str, extent: Extent) -> Callable[[float, int | None], str]:
    """Build the function that writes ticks as 106°E and 7.5°S, or as km."""

    def degrees(value: float, _: int | None = None) -> str:
        sign = "" if value == 0 else signs[0] if value > 0 else signs[1]
        return f"{abs(value):g}°{sign}"

    def km(value: float, _: int | None = None) -> str:
        return f"{value / 1000:g} km"

    return degrees if extent.geographic else km
