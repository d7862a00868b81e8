"""The dates of frames, as transforms need them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from stores.array_types import IntArray
from stores.seasons import Seasons
from stores.times import Times

Indices = IntArray


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """Dates of frames, and the index of each one's season among the climatologies (t,)."""

    times: Times
    seasons: Indices

    @classmethod
    def of(cls, seasons: Seasons, times: Times) -> Self:
        """Look up the seasons of some dates (t,)."""
        return cls(times, seasons.index(times))

    @classmethod
    def undated(cls, n: int = 1) -> Self:
        """Return the axis of frames without a date, such as static maps: the first season."""
        return cls(np.zeros(n, dtype="datetime64[s]"), np.zeros(n, dtype=np.int64))
