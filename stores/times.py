"""Calendar steps: months and years are counted, not added up from seconds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Self, TypeAlias

import numpy as np

from stores.array_types import AnyArray, IntArray

Time: TypeAlias = "np.datetime64[Any]"
Times = AnyArray

_CODES = {"second": "s", "minute": "m", "hour": "h", "day": "D", "month": "M", "year": "Y"}
_UNIT_ALIASES = {"week": (7, "day"), "quarter": (3, "month")}  # other names for several units
_WIDTHS = {"Y": 4, "M": 7, "D": 10, "h": 13, "m": 16, "s": 19}  # of an ISO time, by its unit
_DURATIONS = {"s": "PT{}S", "m": "PT{}M", "h": "PT{}H", "D": "P{}D", "M": "P{}M", "Y": "P{}Y"}
_COMPACT = re.compile(r"\b(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)?(\d\d)?\b")
_CF_CLOCK_UNITS = {"s": "seconds", "m": "minutes", "h": "hours"}
EARLIEST, LATEST = (np.datetime64(day, "s") for day in ("1677-09-22", "2262-04-11"))
"""Days between which dates are held in nanoseconds, as pandas and others count them."""
HELD = f"{EARLIEST.item():%Y-%m-%d} to {LATEST.item():%Y-%m-%d}"
MAX_FRAMES = 10_000_000
"""Longest series; its dates alone take 80 MB. Twenty years of minutes."""
_DATE = re.compile(
    r"(\d{4})(?:-?(\d{2})(?:-?(\d{2})(?:[T ](\d{2})(?::?(\d{2})(?::?(\d{2}))?)?Z?)?)?)?"
)


@dataclass(frozen=True, slots=True)
class Step:
    """Distance between two frames of a series, such as ``month`` or ``5 years``."""

    count: int
    unit: str
    phase: int | None = field(default=None, compare=False)
    """Where in a step the frames of one series lie [units]; None where no series is meant."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``"month"``, ``"5 years"``, ``"12 hours"``, ``"week"``."""
        units = "|".join([*_CODES, *_UNIT_ALIASES])
        match = re.fullmatch(rf"\s*([0-9]{{1,5}})?\s*({units})s?\s*", text)
        if match is None or int(match[1] or 1) == 0:
            raise ValueError(
                f"step={text!r} is not a calendar step, so frames cannot be dated; "
                "write second, minute, hour, day, week, month, quarter or year, such as "
                "'month' or '5 years'"
            )
        count, unit = _UNIT_ALIASES.get(match[2], (1, match[2]))
        return cls(int(match[1] or 1) * count, unit)

    def __str__(self) -> str:
        return self.unit if self.count == 1 else f"{self.count} {self.unit}s"

    @property
    def numpy_unit(self) -> str:
        """NumPy's code of the unit."""
        return _CODES[self.unit]

    def of_series(self, time: Time) -> Self:
        """Return this step for the one series that has a frame at ``time``."""
        return replace(self, phase=self.phase_of(time))

    def phase_of(self, time: Time) -> int:
        """Return where in a step of several units ``time`` lies [units]."""
        return int(time.astype(f"datetime64[{self.numpy_unit}]").astype(np.int64)) % self.count

    def floor(self, time: Time) -> Time:
        """Return the start of the unit that holds ``time`` [s]."""
        start: Time = time.astype(f"datetime64[{self.numpy_unit}]").astype("datetime64[s]")
        return start

    def add(self, time: Time, steps: int) -> Time:
        """Advance ``time`` by ``steps`` whole steps [s]."""
        start = time.astype(f"datetime64[{self.numpy_unit}]")
        distance = np.timedelta64(steps * self.count, self.numpy_unit)  # type: ignore[call-overload]
        moved: Time = (start + distance).astype("datetime64[s]")
        return moved

    def range(self, start: Time, end: Time) -> Times:
        """List the frames from ``start`` to ``end``, both included (t,) [s].

        Of a series (``of_series``) they are its own, the first at ``start`` or behind it.
        """
        first, last = (t.astype(f"datetime64[{self.numpy_unit}]") for t in (start, end))
        if self.phase is not None:
            first = first + (self.phase - self.phase_of(start)) % self.count
        n_frames = int((last - first).astype(np.int64)) // self.count + 1
        if n_frames > MAX_FRAMES:
            raise ValueError(
                f"{self.format(start)} to {self.format(end)} are {n_frames} frames, one every "
                f"{self}, more than the {MAX_FRAMES} of a series; correct dates or step"
            )
        stop = last + np.timedelta64(1, self.numpy_unit)  # type: ignore[call-overload]
        return np.arange(first, stop, self.count).astype("datetime64[s]")

    def units_between(self, start: Time, end: Time) -> int:
        """Count whole units, such as days of ``8 days``, from ``start`` to ``end``."""
        first, last = (t.astype(f"datetime64[{self.numpy_unit}]") for t in (start, end))
        return int((last - first).astype(np.int64))

    def frames_between(self, last: Time, first: Time) -> int:
        """Count the frames behind ``last`` and before ``first``; below 0 those that both hold.

        As many as there may be where it is not known on which units of a step frames lie.
        """
        free = self.units_between(last, first) - 1
        if self.phase is None:
            return -(-free // self.count)
        behind = (self.phase - self.phase_of(last) - 1) % self.count  # units to a frame
        return -((behind - free) // self.count)

    def behind(self, last: Time, gap: int) -> Time:
        """Return the first date with surely ``gap`` frames between itself and ``last`` [s]."""
        n_units = gap * self.count + 1
        if self.phase is not None:
            n_units += (self.phase - self.phase_of(last) - 1) % self.count
        return replace(self, count=1).add(last, n_units)

    def steps_between(self, start: Time, end: Time) -> int:
        """Count whole steps from ``start`` to ``end``.

        Raises:
            ValueError: the distance is not a whole number of steps.
        """
        units = self.units_between(start, end)
        if units % self.count:
            raise ValueError(
                f"{self.format(end)} is not a whole number of steps of {self} after "
                f"{self.format(start)}; choose a date on the series"
            )
        return units // self.count

    def label(self, time: Time) -> str:
        """Write ``time`` for names of files and for keys, as coarse as the unit.

        ``parse_time`` reads it. With a time of day it is ISO 8601's basic form, because ':' is
        none for file names; people read ``format``.
        """
        written = str(np.datetime_as_string(time.astype("datetime64[s]")))[
            : _WIDTHS[self.numpy_unit]
        ]
        return re.sub("[-:]", "", written) if "T" in written else written

    def format(self, time: Time) -> str:
        """Write ``time`` for people, as coarse as the unit: 2017-05, 2017-05-09 12:45."""
        return format_dates(self.label(time))

    def label_range(self, first: Time, last: Time) -> str:
        """Write a stretch for people by its first and its last frame, or by the only one."""
        return name_ends([self.label(first), self.label(last)])

    @property
    def phrase(self) -> str:
        """The distance with its number, as in 'one month' and '5 years'."""
        return f"one {self}" if self.count == 1 else str(self)

    def duration(self, steps: int = 1) -> str:
        """Write ``steps`` as an ISO 8601 duration, such as ``P12M``."""
        return _DURATIONS[self.numpy_unit].format(steps * self.count)

    def bounds(self, times: Times) -> Times:
        """Return the period of each frame, from its date to the next one (t, 2) [s]."""
        return np.array([(time, self.add(time, 1)) for time in times]).reshape(-1, 2)

    @property
    def cf_units(self) -> str:
        """CF units in which every frame of this step is a whole number."""
        return f"{_CF_CLOCK_UNITS.get(self.numpy_unit, 'days')} since 1970-01-01"

    def encode(self, times: Times) -> IntArray:
        """Turn times (t, ...) into the whole numbers of ``cf_units`` (t, ...)."""
        return times.astype(f"datetime64[{self._cf_code}]").astype(np.int64)

    def decode(self, numbers: IntArray) -> Times:
        """Turn whole numbers of ``cf_units`` (t, ...) into times (t, ...) [s]."""
        return numbers.astype(f"datetime64[{self._cf_code}]").astype("datetime64[s]")

    @property
    def _cf_code(self) -> str:
        return self.numpy_unit if self.numpy_unit in _CF_CLOCK_UNITS else "D"


def format_dates(text: str) -> str:
    """Write labels in a text as people read them: 20170509T1245 as 2017-05-09 12:45."""
    return _COMPACT.sub(_format_label, text)


def _format_label(label: re.Match[str]) -> str:
    year, month, day, *clock = label.groups()
    hour, minute, second = clock
    shown = ":".join([hour, minute or "00", *([second] if second else [])])
    return f"{year}-{month}-{day} {shown}"


def is_held(time: Time) -> bool:
    """Return whether every library can hold a date, also those that count nanoseconds."""
    return bool(EARLIEST <= time <= LATEST)


def name_ends(labels: Sequence[str]) -> str:
    """Write labels in order for people: the first to the last, or the only one."""
    return " to ".join(map(format_dates, dict.fromkeys((labels[0], labels[-1]))))


def to_rfc3339(time: Time) -> str:
    """Write a time as STAC and ACDD do."""
    return f"{np.datetime_as_string(time.astype('datetime64[s]'))}Z"


def utc_now() -> str:
    """Return the time now, as ISO text in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


YEARLY = Step(1, "year")
"""Distance between two annual maps."""


def to_times(dates: Iterable[object]) -> Times:
    """Turn dates into an array (t,); a year stands for its first day, a month for its [s]."""
    return np.array([str(date) for date in dates], dtype="datetime64[s]")


def parse_time(text: str) -> Time:
    """Read a label, or an ISO date such as ``2017``, ``2017-12``, ``2017-12-31T12:00`` [s]."""
    match = _DATE.fullmatch(text.strip())
    try:
        numbers = [int(number) for number in match.groups() if number] if match else []
        date = datetime(*(numbers + [1, 1][len(numbers) - 1 :]))  # type: ignore[arg-type]
    except (ValueError, TypeError):
        raise ValueError(
            f"time={text!r} is not a date; write year, month, day and time of day as in "
            "2017-12, 2017-12-31, 2017-12-31T06:30 or 20171231T0630"
        ) from None
    time: Time = np.datetime64(date.isoformat(), "s")
    return time


def parse_end(text: str) -> Time:
    """Read a date as the last second of what it names: of a year, a month, a day [s].

    So ``2017-12`` as an end holds all of December, as in a slice of xarray.
    """
    start = parse_time(text)
    match = _DATE.fullmatch(text.strip())
    assert match is not None  # it is a date
    code = "YMDhms"[sum(number is not None for number in match.groups()) - 1]
    following = start.astype(f"datetime64[{code}]") + 1
    end: Time = following.astype("datetime64[s]") - np.timedelta64(1, "s")
    return end
