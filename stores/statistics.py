"""Statistics of the valid pixels of a frame, summed block by block."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stores.array_types import Float32Array


@dataclass(frozen=True, slots=True)
class Statistics:
    """Moments and range of what is valid; a sum over blocks.

    Source: Chan, Golub and LeVeque (1979), eq. 2.1, for the sum of squares.
    """

    size: int = 0
    """Pixels."""
    valid: int = 0
    mean: float = 0.0
    sum_sq_dev: float = 0.0
    """Sum of the squared distances from the mean."""
    minimum: float = np.inf
    maximum: float = -np.inf

    @classmethod
    def of(cls, values: Float32Array) -> Statistics:
        """Summarize one block (y, x); NaN and infinities are invalid."""
        valid = values[np.isfinite(values)].astype(np.float64)
        if not valid.size:
            return cls(size=values.size)
        mean = float(valid.mean())
        return cls(
            size=values.size,
            valid=valid.size,
            mean=mean,
            sum_sq_dev=float(((valid - mean) ** 2).sum()),
            minimum=float(valid.min()),
            maximum=float(valid.max()),
        )

    def __add__(self, other: Statistics) -> Statistics:
        valid = self.valid + other.valid
        weight = other.valid / valid if valid else 0.0
        delta = other.mean - self.mean
        return Statistics(
            self.size + other.size,
            valid,
            self.mean + delta * weight,
            self.sum_sq_dev + other.sum_sq_dev + delta**2 * self.valid * weight,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
        )

    def to_stac(self) -> dict[str, float]:
        """Return them by STAC's names; without a valid pixel ``valid_percent`` stands alone."""
        percent = {"valid_percent": round(100 * self.valid / self.size, 4)}
        if not self.valid:
            return percent
        limits = {"minimum": self.minimum, "maximum": self.maximum}
        moments = {"mean": self.mean, "stddev": math.sqrt(self.sum_sq_dev / self.valid)}
        return limits | moments | percent
