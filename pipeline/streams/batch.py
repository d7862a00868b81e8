"""The arrays of several samples, as workers send them to the trainer."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.streams.transforms import Values


class Batch(NamedTuple):
    """Arrays of several samples, normalized; invalid values are 0, and ``valid`` says where."""

    target: Values
    """History, then truth of the leads (b, t + leads, y, x)."""
    valid: npt.NDArray[np.bool_]
    """Where the target is usable (b, t + leads, y, x)."""
    forcings: Values
    """Covariates of the ``forcing_times`` (b, n, f, y, x)."""
    statics: Values
    """Covariates without a date (b, s, y, x)."""
    domain: npt.NDArray[np.bool_]
    """Where forecasts are made (b, y, x)."""
