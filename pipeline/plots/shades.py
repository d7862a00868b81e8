"""From values to colors: limits that one wild pixel cannot spoil."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.colors import Colormap
from matplotlib.ticker import MaxNLocator

from pipeline.plots.style import INVALID

Kind = Literal["sequential", "diverging"]

_MAPS = {"sequential": "viridis", "diverging": "RdBu_r"}
_LOW, _HIGH = 2, 98  # percentiles


@dataclass(frozen=True, slots=True)
class Shades:
    """The colors of all panels of a figure."""

    low: float
    high: float
    kind: Kind
    beyond: float
    """Share of the valid pixels that lie outside the limits."""
    extend: Literal["neither", "min", "max", "both"]

    @classmethod
    def fit(cls, values: npt.NDArray[Any], kind: Kind) -> Self:
        """Span the 2nd to 98th percentile, rounded outward; about zero when diverging."""
        if kind not in _MAPS:
            raise ValueError(f"kind={kind!r} names no colors; choose one of {', '.join(_MAPS)}")
        finite = values[np.isfinite(values)].astype(np.float64)
        if not finite.size:
            return cls(-1.0 if kind == "diverging" else 0.0, 1.0, kind, 0.0, "neither")
        low, high = _limits(finite, kind)
        below, above = finite < low, finite > high
        ends = {(True, True): "both", (True, False): "min", (False, True): "max"}
        extend: Any = ends.get((bool(below.any()), bool(above.any())), "neither")
        return cls(low, high, kind, float((below | above).mean()), extend)

    @property
    def colors(self) -> Colormap:
        """The color map, with light grey for pixels that have no value."""
        return colormaps[_MAPS[self.kind]].with_extremes(bad=INVALID)

    @property
    def note(self) -> str:
        """Say how the limits were chosen."""
        if not self.beyond:
            return "Colors span all values."
        return (
            f"Colors span the {_LOW}nd to {_HIGH}th percentile; "
            f"{max(self.beyond, 0.001):.1%} of the pixels lie beyond."
        )


def _limits(finite: npt.NDArray[np.float64], kind: Kind) -> tuple[float, float]:
    low, high = np.percentile(finite, [_LOW, _HIGH])
    if kind == "diverging":
        high = max(abs(low), abs(high))
        low = -high
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-30):  # one value: make room around it
        room = abs(high) * 0.1 or 1.0
        low, high = low - room, high + room
    ticks = MaxNLocator(8, steps=[1, 2, 2.5, 5, 10], symmetric=kind == "diverging").tick_values(
        low, high
    )
    return float(ticks[0]), float(ticks[-1])
