"""Calendar steps: months and years are counted, not added up from seconds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Time: TypeAlias = "np.datetime64[Any]"
Times = npt.NDArray[Any]

_CODES = {"minute": "m", "hour": "h", "day": "D", "month": "M", "year": "Y"}
_LABELS = {"m": "%Y%m%dT%H%M", "h": "%Y%m%dT%H", "D": "%Y-%m-%d", "M": "%Y-%m", "Y": "%Y"}
_SEASONS = {"m": 366, "h": 366, "D": 366, "M": 12, "Y": 1}


@dataclass(frozen=True, slots=True)
class Step:
    """Distance between two frames of a series, such as ``month`` or ``5 years``."""

    count: int
    unit: str

    @classmethod
    def parse(cls, text: str) -> Step:
        """Read ``"month"``, ``"5 years"``, ``"12 hours"``."""
        match = re.fullmatch(r"\s*(\d+)?\s*(minute|hour|day|month|year)s?\s*", text)
        if match is None or match[1] == "0":
            raise ValueError(
                f"step={text!r} is not a calendar step, so frames cannot be dated; "
                "write minute, hour, day, month or year, such as 'month' or '5 years'"
            )
        return cls(int(match[1] or 1), match[2])

    def __str__(self) -> str:
        return self.unit if self.count == 1 else f"{self.count} {self.unit}s"

    @property
    def code(self) -> str:
        """NumPy's code of the unit."""
        return _CODES[self.unit]

    @property
    def n_seasons(self) -> int:
        """How many seasons a climatology of this step has."""
        return _SEASONS[self.code]

    def floor(self, time: Time) -> Time:
        """Return the start of the unit that holds ``time`` [s]."""
        start: Time = time.astype(f"datetime64[{self.code}]").astype("datetime64[s]")
        return start

    def add(self, time: Time, steps: int) -> Time:
        """Advance ``time`` by ``steps`` whole steps [s]."""
        start = time.astype(f"datetime64[{self.code}]")
        distance = np.timedelta64(steps * self.count, self.code)  # type: ignore[call-overload]
        moved: Time = (start + distance).astype("datetime64[s]")
        return moved

    def range(self, start: Time, end: Time) -> Times:
        """List the frames from ``start`` to ``end``, both included [s]."""
        first, last = (t.astype(f"datetime64[{self.code}]") for t in (start, end))
        stop = last + np.timedelta64(1, self.code)  # type: ignore[call-overload]
        return np.arange(first, stop, self.count).astype("datetime64[s]")

    def between(self, start: Time, end: Time) -> int:
        """Count whole steps from ``start`` to ``end``.

        Raises:
            ValueError: the distance is not a whole number of steps.
        """
        first, last = (t.astype(f"datetime64[{self.code}]") for t in (start, end))
        units = int((last - first).astype(int))
        if units % self.count:
            raise ValueError(
                f"{self.label(end)} is not a whole number of steps of {self} after "
                f"{self.label(start)}; choose a date on the series"
            )
        return units // self.count

    def season(self, times: Times) -> npt.NDArray[np.int64]:
        """Give each time its season: month of the year, or day of the year, from 0."""
        if self.code == "Y":
            return np.zeros(len(times), dtype=np.int64)
        unit = "M" if self.code == "M" else "D"
        years = times.astype("datetime64[Y]")
        starts = years.astype(f"datetime64[{unit}]")
        seasons: npt.NDArray[np.int64] = times.astype(f"datetime64[{unit}]") - starts
        return seasons.astype(np.int64)

    def label(self, time: Time) -> str:
        """Name ``time`` in file names and tables, as coarse as the step."""
        return str(time.astype("datetime64[s]").item().strftime(_LABELS[self.code]))

    @property
    def cf_units(self) -> str:
        """CF units in which every frame of this step is a whole number."""
        unit = {"m": "minutes", "h": "hours"}.get(self.code, "days")
        return f"{unit} since 1970-01-01"

    def encode(self, times: Times) -> npt.NDArray[np.int64]:
        """Turn times into the whole numbers of ``cf_units``."""
        unit = {"m": "m", "h": "h"}.get(self.code, "D")
        return times.astype(f"datetime64[{unit}]").astype(np.int64)

    def decode(self, numbers: npt.NDArray[np.int64]) -> Times:
        """Turn whole numbers of ``cf_units`` into times [s]."""
        unit = {"m": "m", "h": "h"}.get(self.code, "D")
        return numbers.astype(f"datetime64[{unit}]").astype("datetime64[s]")


YEAR = Step(1, "year")
"""Distance between two annual maps."""


def to_times(dates: Iterable[object]) -> Times:
    """Turn dates into an array; a year stands for its first day, a month for its [s]."""
    return np.array([str(date) for date in dates], dtype="datetime64[s]")


def parse_time(text: str) -> Time:
    """Read an ISO date such as ``2017``, ``2017-12``, ``2017-12-31T12:00`` [s]."""
    try:
        time: Time = np.datetime64(text).astype("datetime64[s]")
    except ValueError:
        time = np.datetime64("NaT")
    if np.isnat(time):
        raise ValueError(
            f"time={text!r} is not a date; write year, month, day as in 2017-12 or 2017-12-31"
        )
    return time
