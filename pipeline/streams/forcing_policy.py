"""What was known of a covariate when a forecast began, and what stands for the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.streams.input_stack import ForcingSpec
from stores.times import YEARLY, Step, Time, Times


@dataclass(frozen=True, eq=False, slots=True)
class ForcingDates:
    """Which frames of one covariate stand for the dates that a rollout reads."""

    times: Times
    """Dates to read, one for each of the first dates asked for; 0 stands for the later ones."""
    missing: Times
    """Those of them that are not there; none where the forecast can be made."""
    n_late: int = 0
    """Dates whose frame should have come by the covariate's delay, and has not."""


def resolve_forcing(
    forcing: ForcingSpec, available: Times, step: Step, times: Times, init: Time
) -> ForcingDates:
    """Decide from dates alone what is read of a covariate, and what stands for the rest.

    With ``persist`` the last known frame stands for later dates; with ``climatology`` 0 does,
    which after the anomaly and the z-score is the mean of the season; with ``known`` every
    date is read.

    Args:
        forcing: the covariate, its policy and its delay.
        available: the dates it has (t,), in order: at least one.
        step: distance between two frames.
        times: dates that the rollout reads (n,), in order.
        init: last frame that the forecast knows.
    """
    forcing_step = YEARLY if forcing.kind == "annual" else step
    requested = times.astype(f"datetime64[{forcing_step.numpy_unit}]").astype("datetime64[s]")
    if forcing.future == "known":
        return ForcingDates(requested, _missing(requested, available))
    last_due = forcing_step.add(init, -forcing.delay)
    n_late = np.count_nonzero((available[-1] < requested) & (requested <= last_due))
    if forcing.future == "persist":
        read = last_available(available, np.minimum(requested, last_due))
    else:
        read = requested[requested <= min(last_due, available[-1])]
    return ForcingDates(read, _missing(read, available), int(n_late))


def last_available(available: Times, requested: Times) -> Times:
    """Find for each date (t,) the last available one; itself where none is before it."""
    index = np.searchsorted(available, requested, side="right") - 1
    return np.where(index < 0, requested, available[index])


def _missing(read: Times, available: Times) -> Times:
    nearest = np.searchsorted(available, read).clip(max=len(available) - 1)
    missing: Times = read[available[nearest] != read]
    return missing
