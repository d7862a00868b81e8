"""Seasons: time of year x time of day, as far as a series tells them apart."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from stores.array_types import IntArray
from stores.times import Step, Time, Times

_DAY_S = 86_400
_SECONDS = {"s": 1, "m": 60, "h": 3600, "D": _DAY_S}
_MONTHS = 12
_CYCLES = 2  # a cycle that was seen once cannot be told from what happened that time


@dataclass(frozen=True, slots=True)
class CalendarCycle:
    """How a step cuts the year and the day: times of year and of day, from 0."""

    n_times_of_year: int
    """Months for steps of months and for steps below a day, else pieces as long as the step."""
    n_times_of_day: int
    """Times of day at which frames of the step can fall."""
    frames_per_year: int
    """Frames until the times of year return."""
    days: int = 0
    """Days of a step of whole days."""

    @classmethod
    def of(cls, step: Step) -> Self:
        """Cut year and day for a step."""
        if step.numpy_unit == "Y":
            return cls(1, 1, 1)
        if step.numpy_unit == "M":
            return cls(_MONTHS, 1, _MONTHS // math.gcd(_MONTHS, step.count))
        seconds = step.count * _SECONDS[step.numpy_unit]
        if seconds % _DAY_S == 0:
            days = seconds // _DAY_S
            n = max(1, round(365.25 / days))
            return cls(n, 1, n, days)
        return cls(_MONTHS, _DAY_S // math.gcd(seconds, _DAY_S), 365 * _DAY_S // seconds)

    def time_of_year(self, times: Times) -> IntArray:
        """Return the time of year of each time (t,)."""
        years = times.astype("datetime64[Y]")
        if self.days:
            day = times.astype("datetime64[D]") - years.astype("datetime64[D]")
            times_of_year: IntArray = day.astype(np.int64) // self.days
            return np.minimum(
                times_of_year, self.n_times_of_year - 1
            )  # no last piece of a day or two
        months = times.astype("datetime64[M]") - years.astype("datetime64[M]")
        return np.asarray(months.astype(np.int64))

    def time_of_day(self, times: Times) -> IntArray:
        """Return the time of day of each time (t,)."""
        seconds = times.astype("datetime64[s]").astype(np.int64) % _DAY_S
        return np.asarray(seconds * self.n_times_of_day // _DAY_S, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Seasons:
    """The seasons that a climatology holds, in the order of its first axis.

    Times of year (of day) are told apart where the training frames hold two years (days) of
    them; otherwise one season holds them all. The number of a season is its time of year times
    ``n_times_of_day``, plus its time of day.
    """

    step: Step
    n_of_year: int
    """Times of year that are told apart; 1 for none."""
    n_of_day: int
    """Times of day that are told apart; 1 for none."""
    season_numbers: tuple[int, ...]
    """Numbers of the seasons that occur, rising."""

    @classmethod
    def of(cls, step: Step, times: Times) -> Self:
        """Find the seasons of training frames."""
        cycle = CalendarCycle.of(step)
        n = len(times)
        n_of_year = cycle.n_times_of_year if n >= _CYCLES * cycle.frames_per_year else 1
        n_of_day = cycle.n_times_of_day if n >= _CYCLES * cycle.n_times_of_day else 1
        all_seasons = cls(step, n_of_year, n_of_day, ())
        return cls(
            step, n_of_year, n_of_day, tuple(np.unique(all_seasons.numbers(times)).tolist())
        )

    def __len__(self) -> int:
        return len(self.season_numbers)

    def __str__(self) -> str:
        counts = {"times of year": self.n_of_year, "times of day": self.n_of_day}
        text = " x ".join(f"{n} {unit}" for unit, n in counts.items() if n > 1)
        return f"{len(self)} seasons ({text})" if text else "one season"

    def numbers(self, times: Times) -> IntArray:
        """Return the number of the season of each time (t,)."""
        cycle = CalendarCycle.of(self.step)
        year = (
            cycle.time_of_year(times) if self.n_of_year > 1 else np.zeros(len(times), np.int64)
        )
        day = cycle.time_of_day(times) if self.n_of_day > 1 else np.zeros(len(times), np.int64)
        return year * self.n_of_day + day

    def index(self, times: Times) -> IntArray:
        """Return the index of the season of each time on the axis (t,).

        A season that is not held stands for the nearest: of the same time of day if one is
        held, then the nearest time of year, round the new year.
        """
        numbers, inverse = np.unique(self.numbers(times), return_inverse=True)
        return self._nearest(numbers)[inverse]

    def n_unseen(self, times: Times) -> int:
        """Count the times whose season is not held."""
        return int((~np.isin(self.numbers(times), self.season_numbers)).sum())

    def by_time_of_day(self) -> Iterator[tuple[IntArray, IntArray]]:
        """Iterate over times of day: their indices on the axis (n,), and times of year (n,)."""
        year, day = np.divmod(np.array(self.season_numbers, dtype=np.int64), self.n_of_day)
        for time in np.unique(day):
            indices = np.flatnonzero(day == time)
            yield indices, year[indices]

    def _nearest(self, numbers: IntArray) -> IntArray:
        year, day = np.divmod(np.array(self.season_numbers, dtype=np.int64), self.n_of_day)
        indices = []
        for time_of_year, time_of_day in zip(*np.divmod(numbers, self.n_of_day), strict=True):
            in_year = _cyclic_distance(year, time_of_year, self.n_of_year)
            in_day = _cyclic_distance(day, time_of_day, self.n_of_day)
            indices.append(np.lexsort((in_year, in_day))[0])
        return np.array(indices, dtype=np.int64)


def has_period(step: Step) -> bool:
    """Return whether frames return to their season, after a year or a day."""
    return frames_per_period(step) > 1


def frames_per_period(step: Step) -> float:
    """Count the frames after which a season returns: those of a day below a day, or a year."""
    cycle = CalendarCycle.of(step)
    return cycle.n_times_of_day if cycle.n_times_of_day > 1 else cycle.frames_per_year


def shift_to_observed(step: Step, time: Time, init: Time) -> Time:
    """Go back whole periods from a frame of a series until it was observed at ``init``.

    A period is a year - the frame nearest to the same date is taken - or, for steps below a
    day, the days after which frames fall on the same time of day.
    """
    n_of_day = CalendarCycle.of(step).n_times_of_day
    if n_of_day > 1:
        lead = step.steps_between(init, time)
        return step.add(init, lead - n_of_day * math.ceil(lead / n_of_day))
    months = time.astype("datetime64[M]")
    offset = time - months.astype("datetime64[s]")
    while months.astype("datetime64[s]") + offset > init:
        months = months - np.timedelta64(_MONTHS, "M")
    units = step.units_between(months.astype("datetime64[s]") + offset, init)
    return step.add(init, -round(units / step.count))


def _cyclic_distance(numbers: IntArray, number: np.int64, n: int) -> IntArray:
    """Measure the way round a cycle of ``n``."""
    forward: IntArray = (numbers - number) % n
    return np.minimum(forward, n - forward)
