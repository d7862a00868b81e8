"""Ends of a split that count from the newest frame of the target, so that it moves on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

import numpy as np

from stores.times import Step, Time, parse_time

NEWEST = "newest"
_OFFSET = re.compile(r"\s*-\s*([0-9]{1,6})\s*(step|second|minute|hour|day|month|year)s?\s*")
_MONTHS = {"month": 1, "year": 12}
_CODES = {"day": "D", "hour": "h", "minute": "m", "second": "s"}


@dataclass(frozen=True, slots=True)
class DateOffset:
    """A distance back from the newest frame, such as ``-4 years``."""

    count: int
    unit: str

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read ``newest``, ``-4 years``, ``-18 months``, ``-30 days`` or ``-2 steps``.

        None where it is none of them, as a date.
        """
        if text.strip() == NEWEST:
            return cls(0, "step")
        match = _OFFSET.fullmatch(text)
        return cls(int(match[1]), match[2]) if match else None

    def resolve(self, newest: Time, step: Step) -> Time:
        """Find the last frame of the series that is no later than the offset says [s]."""
        if self.unit == "step":
            return step.add(newest, -self.count)
        wanted = self._back(newest.astype("datetime64[s]"))
        n_back = 0
        # Steps of months and years differ in length, so the estimate is mended by single steps.
        while step.add(newest, -n_back) > wanted:
            n_back += max(1, _steps_between(step, wanted, step.add(newest, -n_back)))
        return step.add(newest, -n_back)

    def _back(self, time: Time) -> Time:
        if self.unit not in _MONTHS:
            back: Time = time - np.timedelta64(self.count, _CODES[self.unit])  # type: ignore[call-overload]
            return back
        month = time.astype("datetime64[M]")
        moved = month - np.timedelta64(self.count * _MONTHS[self.unit], "M")
        same_day = moved.astype("datetime64[s]") + (time - month.astype("datetime64[s]"))
        last: Time = (moved + 1).astype("datetime64[s]") - np.timedelta64(1, "s")
        return min(same_day, last)  # no 31st in a month of 30 days


def _steps_between(step: Step, start: Time, end: Time) -> int:
    """Count the whole steps that surely lie between two times."""
    a_step = end - step.add(end, -1)
    return int((end - start) / (a_step * 2))


def is_offset(text: str) -> bool:
    """Check whether a bound counts from the newest frame."""
    return DateOffset.parse(text) is not None


def check_bound(text: str) -> None:
    """Refuse a bound that is neither a date nor an offset.

    Raises:
        ValueError: it is neither.
    """
    if is_offset(text):
        return
    try:
        parse_time(text)
    except ValueError as error:
        raise ValueError(
            f"{error}; or an offset from the newest frame of the target, such as '-4 years', "
            f"'-18 months', '-30 days', '-2 steps' or {NEWEST!r}"
        ) from None


def resolve_bound(text: str, newest: Time, step: Step) -> str:
    """Write a bound as a date: an offset is taken from ``newest``, a date stays."""
    offset = DateOffset.parse(text)
    return text if offset is None else _iso(offset.resolve(newest, step), step)


def _iso(time: Time, step: Step) -> str:
    """Write a time as coarse as the step, so that ``parse_time`` reads it."""
    return str(time.astype(f"datetime64[{step.numpy_unit}]"))
