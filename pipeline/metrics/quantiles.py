"""How good forecast quantiles are, as sums merged in any order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from pipeline.metrics.moments import safe_divide
from stores.array_types import AnyArray, Float64Array, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class QuantileSums:
    """What the scores of some quantiles are made of, all on the same pixels."""

    levels: tuple[float, ...]
    n: IntArray
    """Pixels that counted (lead,)."""
    losses: Float64Array
    """Sum of the pinball losses (quantile, lead) [units]."""
    n_below: IntArray
    """Truths at or below the quantile (quantile, lead)."""

    @classmethod
    def zero(cls, n_leads: int, levels: tuple[float, ...]) -> Self:
        """Start with nothing scored."""
        blank = np.zeros((len(levels), n_leads))
        return cls(levels, np.zeros(n_leads, np.int64), blank, blank.astype(np.int64))

    @classmethod
    def of(cls, quantiles: Mapping[float, AnyArray], truth: AnyArray) -> Self:
        """Sum forecast quantiles against the truth.

        Args:
            quantiles: fields (lead, y, x) by their level, between 0 and 1 [units].
            truth: values (lead, y, x) [units]; a pixel counts where they all are finite.

        Raises:
            ValueError: there are no quantiles, or their shape is not that of the truth.
        """
        shapes = {level: field.shape for level, field in quantiles.items()}
        if set(shapes.values()) != {truth.shape}:
            raise ValueError(
                f"quantiles have shapes {shapes} but the truth {truth.shape}, so pixels cannot "
                "be compared; give (lead, y, x) on one window for each"
            )
        fields = np.stack(list(quantiles.values()))
        where = np.isfinite(fields).all(axis=0) & np.isfinite(truth)
        sums = [
            _sum_lead(quantiles, fields[:, lead, valid_px], truth[lead, valid_px])
            for lead, valid_px in enumerate(where)  # one lead at a time bounds the memory
        ]
        losses, below = np.array(sums).transpose(1, 2, 0)  # each (quantile, lead)
        return cls(tuple(quantiles), where.sum(axis=(1, 2)), losses, below.astype(np.int64))

    def __add__(self, other: QuantileSums) -> Self:
        if self.levels != other.levels:
            raise ValueError(
                f"quantiles {self.levels} and {other.levels} are not the same, so their sums "
                "mean nothing together; score them apart"
            )
        return type(self)(
            self.levels,
            self.n + other.n,
            self.losses + other.losses,
            self.n_below + other.n_below,
        )

    @property
    def pinball(self) -> Float64Array:
        """Mean pinball loss (quantile, lead) [units]; lower is better, NaN without a pixel.

        Source: Koenker and Bassett (1978). Twice its mean over all quantiles between 0 and 1 is
        the CRPS (Gneiting and Raftery 2007).
        """
        return safe_divide(self.losses, self.n)

    @property
    def fraction_below(self) -> Float64Array:
        """Fraction of truths at or below each quantile (quantile, lead): its level at best."""
        return safe_divide(self.n_below, self.n)


def _sum_lead(
    levels: Mapping[float, AnyArray], fields: AnyArray, truth: AnyArray
) -> tuple[list[float], list[float]]:
    """Sum the pixels of one lead, quantiles (quantile, pixel) and truth (pixel,)."""
    error = truth.astype(np.float64) - fields
    level = np.array(list(levels))[:, None]
    losses = np.maximum(level * error, (level - 1) * error).sum(axis=1)
    return losses.tolist(), (error <= 0).sum(axis=1).tolist()
