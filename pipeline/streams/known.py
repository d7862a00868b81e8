"""What was known of a covariate when a forecast began, and what stands for the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.streams.stack import Forcing
from stores.times import YEAR, Step, Time, Times


@dataclass(frozen=True, eq=False, slots=True)
class Known:
    """Which frames of one covariate stand for the dates that a rollout reads."""

    times: Times
    """Dates to read, one for each of the first dates asked for; 0 stands for the later ones."""
    missing: Times
    """Those of them that are not there; none where the forecast can be made."""
    n_late: int = 0
    """Dates whose frame should have come by the covariate's delay, and has not."""


def know(forcing: Forcing, held: Times, step: Step, times: Times, init: Time) -> Known:
    """Decide from dates alone what is read of a covariate, and what stands for the rest.

    With ``persist`` the last known frame stands for later dates; with ``climatology`` 0 does,
    which after the anomaly and the z-score is the mean of the season; with ``known`` every date
    is read.

    Args:
        forcing: the covariate, its policy and its delay.
        held: the dates it has (t,), in order: at least one.
        step: distance between two frames.
        times: dates that the rollout reads (n,), in order.
        init: last frame that the forecast knows.
    """
    every = YEAR if forcing.kind == "annual" else step
    wanted = times.astype(f"datetime64[{every.code}]").astype("datetime64[s]")
    if forcing.future == "known":
        return Known(wanted, _missing(wanted, held))
    due = every.add(init, -forcing.delay)
    n_late = np.count_nonzero((held[-1] < wanted) & (wanted <= due))
    if forcing.future == "persist":
        read = latest(held, np.minimum(wanted, due))
    else:
        read = wanted[wanted <= min(due, held[-1])]
    return Known(read, _missing(read, held), int(n_late))


def latest(held: Times, wanted: Times) -> Times:
    """Look up for each date (t,) the last one that is held; itself where none is before it."""
    place = np.searchsorted(held, wanted, side="right") - 1
    return np.where(place < 0, wanted, held[place])


def _missing(read: Times, held: Times) -> Times:
    nearest = np.searchsorted(held, read).clip(max=len(held) - 1)
    missing: Times = read[held[nearest] != read]
    return missing
