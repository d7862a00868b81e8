"""Coordinates of time: frames are periods, and a forecast's also lie ahead of its init."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stores.arrays import Coordinate
from stores.names import BNDS, FORECAST_PERIOD, INIT_TIME, LEAD, TIME, TIME_BNDS
from stores.times import Step, Time, Times


def time_coordinates(step: Step, times: Times, *, chunk_length: int = 0) -> list[Coordinate]:
    """Build the time axis and the period [start, next start) of each frame.

    ``chunk_length`` is the length of their one chunk, where they will grow.
    """
    time_attributes = _time_attributes(step) | {
        "standard_name": "time",
        "long_name": "valid time: start of the frame's period",
        "axis": "T",
        "bounds": TIME_BNDS,
    }
    # Bounds have no attributes of their own: theirs are those of the axis (CF 1.11, 7.1).
    return [
        Coordinate(
            TIME, (TIME,), step.encode(times), time_attributes, chunk_length=chunk_length
        ),
        Coordinate(
            TIME_BNDS, (TIME, BNDS), step.encode(step.bounds(times)), chunk_length=chunk_length
        ),
    ]


def forecast_coordinates(
    step: Step, init: Time, times: Times, leads: Sequence[int]
) -> list[Coordinate]:
    """Build the time axis of a forecast, and how far ahead of its init each frame lies."""
    init_attributes = _time_attributes(step) | {
        "standard_name": "forecast_reference_time",
        "long_name": "last observed time that the forecast knows",
    }
    lead_attributes = {
        "long_name": f"steps after init_time, one step is {step.phrase}",
        "units": "1",
    }
    period_attributes = {
        "standard_name": "forecast_period",
        "long_name": "time after init_time",
        "units": step.cf_units.partition(" ")[0],
        "dtype": "timedelta64[ns]",  # how xarray shall decode it
    }
    periods = step.encode(times) - step.encode(np.asarray(init))
    return [
        *time_coordinates(step, times),
        Coordinate(INIT_TIME, (), step.encode(np.asarray(init)), init_attributes),
        Coordinate(LEAD, (TIME,), np.array(leads), lead_attributes),
        Coordinate(FORECAST_PERIOD, (TIME,), periods, period_attributes),
    ]


def _time_attributes(step: Step) -> dict[str, str]:
    return {
        "units": step.cf_units,
        "units_metadata": "leap_seconds: none",  # days have 86400 s, as in NumPy
        "calendar": "proleptic_gregorian",
    }
