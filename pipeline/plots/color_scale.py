"""From values to classes of color: round limits that one wild pixel cannot spoil."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Literal, Self

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import BoundaryNorm, Colormap

from pipeline.plots.palettes import PaletteKind
from pipeline.plots.style import INVALID_COLOR
from stores.array_types import AnyArray, Float64Array
from stores.colors import DEFAULT_COLORS

Extend = Literal["neither", "min", "max", "both"]

_DEFAULTS = {"sequential": DEFAULT_COLORS.sequential, "diverging": DEFAULT_COLORS.diverging}
_LOW, _HIGH = 2, 98  # percentiles
_FEWEST, _MOST = 7, 9  # classes of a sequential palette: more cannot be told apart
_PER_SIDE = 4  # classes on either side of zero
# Widths of a class, roundest first; neighbors differ by at most a third, so that one fits.
_ROUND = (1, 5, 2, 2.5, 4, 3, 8, 6, 1.5, 1.2)
_SLACK = 1e-9  # of a class: what floats may say too much


@dataclass(frozen=True, slots=True)
class ColorScale:
    """The classes of color of all panels of a figure."""

    limits: tuple[float, ...]
    """Limits of the classes, rising."""
    kind: PaletteKind
    colormap: str
    clipped_fraction: float
    """Share of the valid pixels that lie outside the limits."""
    extend: Extend

    @classmethod
    def fit(cls, values: AnyArray, kind: PaletteKind, colormap: str | None = None) -> Self:
        """Cut the 2nd to 98th percentile into classes; half of them below 0 when diverging.

        Args:
            values: all that is drawn; NaN does not count.
            kind: 'sequential', or 'diverging' about zero.
            colormap: name of a color map; that of an unknown quantity by default.
        """
        if kind not in _DEFAULTS:
            known = ", ".join(_DEFAULTS)
            raise ValueError(f"kind={kind!r} names no colors; choose one of {known}")
        name = colormap or _DEFAULTS[kind]
        finite = values[np.isfinite(values)].astype(np.float64)
        if not finite.size:
            finite = np.array([0.0, 1.0])
        limits = _limits(finite, kind)
        below, above = finite < limits[0], finite > limits[-1]
        ends: dict[tuple[bool, bool], Extend] = {
            (True, True): "both",
            (True, False): "min",
            (False, True): "max",
        }
        extend = ends.get((bool(below.any()), bool(above.any())), "neither")
        return cls(limits, kind, name, float((below | above).mean()), extend)

    @property
    def low(self) -> float:
        """Lower limit of the lowest class."""
        return self.limits[0]

    @property
    def high(self) -> float:
        """Upper limit of the highest class."""
        return self.limits[-1]

    @property
    def cmap(self) -> Colormap:
        """One color a class, with light grey for pixels that have no value."""
        classes = colormaps[self.colormap].resampled(len(self.limits) - 1)
        return classes.with_extremes(bad=INVALID_COLOR)

    @property
    def norm(self) -> BoundaryNorm:
        """What puts values into classes."""
        return BoundaryNorm(self.limits, len(self.limits) - 1)

    @property
    def note(self) -> str:
        """Say how the limits were chosen."""
        if not self.clipped_fraction:
            return "Colors span all values."
        return (
            f"Colors span the {_LOW}nd to {_HIGH}th percentile; "
            f"{max(self.clipped_fraction, 0.001):.1%} of the pixels lie beyond."
        )


def _limits(finite: Float64Array, kind: PaletteKind) -> tuple[float, ...]:
    low, high = (float(value) for value in np.percentile(finite, [_LOW, _HIGH]))
    if kind == "diverging":
        high = max(abs(low), abs(high))
        low = -high
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-30):  # one value: make room around it
        room = abs(high) * 0.1 or 1.0
        low, high = low - room, high + room
    if kind == "diverging":
        least = high * (1 - _SLACK) / _PER_SIDE
        width = min(width for width in _widths(high) if width >= least)
        first, n = -_PER_SIDE, 2 * _PER_SIDE
    else:
        fitting = (width for width in _widths(high - low) if _fits(low, high, width))
        width = next(fitting)
        first, n = _first(low, width), _count(low, high, width)
    return tuple(float(f"{(first + k) * width:.12g}") for k in range(n + 1))


def _widths(span: float) -> list[float]:
    """List widths of classes that may cut a span, roundest first."""
    power = math.floor(math.log10(span))
    return [digits * 10.0**e for digits, e in product(_ROUND, (power, power - 1, power - 2))]


def _fits(low: float, high: float, width: float) -> bool:
    return _FEWEST <= _count(low, high, width) <= _MOST


def _first(low: float, width: float) -> int:
    """Number of the class that holds the lowest value, counted from zero."""
    return math.floor(low / width + _SLACK)


def _count(low: float, high: float, width: float) -> int:
    """Count the classes that hold all values."""
    return math.ceil(high / width - _SLACK) - _first(low, width)
