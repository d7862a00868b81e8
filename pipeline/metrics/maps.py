"""Where a forecast errs: error sums per pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pipeline.metrics.moments import Counts, Floats, Valid, checked_valid


@dataclass(frozen=True, slots=True, eq=False)
class ErrorMaps:
    """Sums of one method's error at each pixel of a window (y, x), over leads and issues."""

    n: Counts
    error: Floats
    squared_error: Floats

    @classmethod
    def zero(cls, shape: tuple[int, int]) -> Self:
        """Start with nothing scored on a window of ``shape`` (y, x)."""
        return cls(np.zeros(shape, dtype=np.int64), np.zeros(shape), np.zeros(shape))

    @classmethod
    def of(cls, forecast: npt.NDArray[Any], truth: npt.NDArray[Any], valid: Valid) -> Self:
        """Sum one forecast (lead, y, x) against the truth, where ``valid``."""
        where = checked_valid(forecast, valid) & checked_valid(truth, valid)
        difference = np.subtract(forecast, truth, dtype=np.float64)
        error = np.where(where, difference, 0.0)
        return cls(
            where.sum(axis=0, dtype=np.int64), error.sum(axis=0), (error * error).sum(axis=0)
        )

    def __add__(self, other: ErrorMaps) -> Self:
        return type(self)(
            self.n + other.n, self.error + other.error, self.squared_error + other.squared_error
        )

    @property
    def bias(self) -> Floats:
        """Mean of forecast minus truth; NaN where nothing was scored [units] (y, x)."""
        return self._mean(self.error)

    @property
    def rmse(self) -> Floats:
        """Root mean squared error; NaN where nothing was scored [units] (y, x)."""
        return np.sqrt(self._mean(self.squared_error))

    def _mean(self, total: Floats) -> Floats:
        return np.where(self.n > 0, total / np.maximum(self.n, 1), np.nan)
