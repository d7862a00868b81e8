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
_LOW_PERCENTILE = 2
_HIGH_PERCENTILE = 98
_MIN_CLASSES = 7
_MAX_CLASSES = 9  # of a sequential palette: more cannot be told apart
_PER_SIDE = 4  # classes on either side of zero
# Widths of a class, roundest first; neighbors differ by at most a third, so that one fits.
_ROUND = (1, 5, 2, 2.5, 4, 3, 8, 6, 1.5, 1.2)
_TOLERANCE = 1e-9  # of a class: rounding of floats


@dataclass(frozen=True, slots=True)
class ColorScale:
    """The classes of color of all panels of a figure."""

    limits: tuple[float, ...]
    """Limits of the classes, rising."""
    kind: PaletteKind
    colormap: str
    clipped_fraction: float
    """Fraction of the valid pixels that lie outside the limits."""
    extend: Extend

    @classmethod
    def fit(cls, values: AnyArray, kind: PaletteKind, colormap: str | None = None) -> Self:
        """Build classes over the 2nd to 98th percentile; half of them below 0 when diverging.

        Args:
            values: all that is drawn (...); NaN does not count.
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
        below = finite < limits[0]
        above = finite > limits[-1]
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
        """Map from values to classes."""
        return BoundaryNorm(self.limits, len(self.limits) - 1)

    @property
    def note(self) -> str:
        """Describe how the limits were chosen."""
        if not self.clipped_fraction:
            return "Colors span all values."
        return (
            f"Colors span the {_LOW_PERCENTILE}nd to {_HIGH_PERCENTILE}th percentile; "
            f"{max(self.clipped_fraction, 0.001):.1%} of the pixels lie beyond."
        )


def _limits(finite: Float64Array, kind: PaletteKind) -> tuple[float, ...]:
    """Choose the limits of the classes, rising, at multiples of a round width."""
    low, high = _value_range(finite, kind)
    if kind == "diverging":
        min_width = high * (1 - _TOLERANCE) / _PER_SIDE
        width = min(width for width in _widths(high) if width >= min_width)
        return _multiples(width, -_PER_SIDE, 2 * _PER_SIDE)
    width = next(width for width in _widths(high - low) if _fits(low, high, width))
    return _multiples(width, _first(low, width), _count(low, high, width))


def _value_range(finite: Float64Array, kind: PaletteKind) -> tuple[float, float]:
    """Find the range that classes cover; wider than 0 also around a single value."""
    percentiles = np.percentile(finite, [_LOW_PERCENTILE, _HIGH_PERCENTILE])
    low, high = (float(value) for value in percentiles)
    if kind == "diverging":
        high = max(abs(low), abs(high))
        low = -high
    if high - low > 1e-9 * max(abs(low), abs(high), 1e-30):
        return low, high
    margin = abs(high) * 0.1 or 1.0
    return low - margin, high + margin


def _multiples(width: float, first: int, n: int) -> tuple[float, ...]:
    """Return ``n`` + 1 multiples of a width, the first one ``first`` times it."""
    return tuple(float(f"{(first + k) * width:.12g}") for k in range(n + 1))


def _widths(span: float) -> list[float]:
    """List widths of classes that may cut a span, roundest first."""
    power = math.floor(math.log10(span))
    return [digits * 10.0**e for digits, e in product(_ROUND, (power, power - 1, power - 2))]


def _fits(low: float, high: float, width: float) -> bool:
    return _MIN_CLASSES <= _count(low, high, width) <= _MAX_CLASSES


def _first(low: float, width: float) -> int:
    """Find the class that holds the lowest value, counted from zero."""
    return math.floor(low / width + _TOLERANCE)


def _count(low: float, high: float, width: float) -> int:
    """Count the classes that hold all values."""
    return math.ceil(high / width - _TOLERANCE) - _first(low, width)
