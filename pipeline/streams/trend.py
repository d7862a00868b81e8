"""One straight line in time: what rises everywhere is subtracted, and continued beyond."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.streams.axis import TimeAxis
from stores.array_types import Float32Array, Float64Array
from stores.times import Time, Times

Years = Float64Array

_YEAR_S = 365.25 * 86400


@dataclass(frozen=True, slots=True)
class Trend:
    """A rise that is the same at every pixel, zero at ``origin``.

    Beyond the frames that it was fitted on the line goes on: that a rise continues is an
    assumption, which no statistic of the training part can check.
    """

    slope: float
    """Rise [units year-1]."""
    origin: Time

    def forward(
        self, values: Float32Array, axis: TimeAxis, out: Float32Array | None = None
    ) -> Float32Array:
        """Subtract the line (t, y, x)."""
        return np.subtract(values, self._line(axis), out=out)

    def inverse(self, values: Float32Array, axis: TimeAxis) -> Float32Array:
        """Add the line (t, y, x)."""
        return values + self._line(axis)

    def _line(self, axis: TimeAxis) -> Float32Array:
        """Compute the height of the line at each frame (t, 1, 1)."""
        rise = self.slope * years_since(self.origin, axis.times)
        return rise.astype(np.float32)[:, None, None]


@dataclass(frozen=True, slots=True)
class TrendSums:
    """Mergeable sums for the slope of a line.

    Products of date and value, and squares of dates, about the means of each pixel and season:
    a part that begins in winter and ends in summer would else call its season a rise.
    """

    products: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, products: Years, squares: Years) -> TrendSums:
        """Add up what pixels left about their means (n,)."""
        return cls(float(products.sum()), float(squares.sum()))

    def __add__(self, other: TrendSums) -> TrendSums:
        return TrendSums(self.products + other.products, self.squares + other.squares)

    @property
    def slope(self) -> float | None:
        """Rise a year by least squares; None where no season was seen in two years."""
        return self.products / self.squares if self.squares else None


def describe_trend(chain: Sequence[Mapping[str, Any]], units: str) -> dict[str, str]:
    """Describe the line on which a forecast stands; nothing where it has none."""
    for step in chain:
        if step["kind"] == "trend":
            slope = f"{step['slope']:.4g} {units} year-1"
            return {"trend": f"{slope} of the training part, continued beyond it"}
    return {}


def years_since(origin: Time, times: Times) -> Years:
    """Count years of 365.25 days since ``origin`` (t,)."""
    seconds = (times - origin).astype("timedelta64[s]").astype(np.float64)
    years: Years = seconds / _YEAR_S
    return years
