"""Summaries of an ensemble, and how good it is, as sums merged in any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from pipeline.metrics.moments import resolve_valid, safe_divide
from stores.array_types import AnyArray, BoolArray, Float64Array


class EnsembleSummary(NamedTuple):
    """What is kept of the members of an ensemble, in their units."""

    mean: AnyArray
    """Mean of the members (lead, y, x)."""
    std: AnyArray
    """Standard deviation of the members about their mean (lead, y, x), with n - 1."""
    quantiles: AnyArray
    """Values below which each requested fraction of the members lies (level, lead, y, x)."""


def summarize_members(members: AnyArray, levels: Sequence[float]) -> EnsembleSummary:
    """Reduce members (member, lead, y, x) to mean, standard deviation and quantiles.

    Computed in float64 and given in the precision of the members. A pixel that is NaN in one
    member is NaN. Between members quantiles are linear (type 7 of Hyndman and Fan 1996), so
    the outermost members are the 0 and 1 quantiles.

    Raises:
        ValueError: there are fewer than two members.
    """
    _check_several(members)
    exact = members.astype(np.float64)
    statistics = (exact.mean(axis=0), exact.std(axis=0, ddof=1), _quantiles(exact, levels))
    return EnsembleSummary(*(values.astype(members.dtype) for values in statistics))


def _quantiles(members: Float64Array, levels: Sequence[float]) -> Float64Array:
    quantiles: Float64Array = np.quantile(members, list(levels), axis=0, method="linear")
    return quantiles


@dataclass(frozen=True, slots=True, eq=False)
class EnsembleSums:
    """What the scores of one ensemble are made of; every array is (lead,)."""

    n_members: int
    n: Float64Array
    """Pixels that counted."""
    crps_sum: Float64Array
    """Sum of the fair CRPS [units]."""
    variance: Float64Array
    """Sum of the members' variances about their mean, with n - 1 [units squared]."""
    squared_error: Float64Array
    """Sum of the squared errors of the mean of the members [units squared]."""

    @classmethod
    def zero(cls, n_leads: int, n_members: int) -> Self:
        """Start with nothing scored."""
        return cls(n_members, *np.zeros((4, n_leads)))

    @classmethod
    def of(cls, members: AnyArray, truth: AnyArray, valid: BoolArray | None = None) -> Self:
        """Sum one ensemble against the truth.

        Args:
            members: values (member, lead, y, x) [units].
            truth: values (lead, y, x) [units].
            valid: pixels that count, broadcast to (lead, y, x); by default those where the
                truth and all members are finite.

        Raises:
            ValueError: shapes differ, there are fewer than two members, or ``valid`` says True
                where a value is not finite.
        """
        _check_several(members)
        where = _resolve_valid_members(members, truth, valid)
        leads = [
            _sum_lead(members[:, lead, valid_px].astype(np.float64), truth[lead, valid_px])
            for lead, valid_px in enumerate(where)  # one lead at a time bounds the memory
        ]
        return cls(len(members), *np.array(leads).reshape(-1, 4).T)

    def __add__(self, other: EnsembleSums) -> Self:
        if self.n_members != other.n_members:
            raise ValueError(
                f"ensembles of {self.n_members} and {other.n_members} members do not merge, "
                "since the spread of each is corrected for its size; score them apart"
            )
        return type(self)(
            self.n_members,
            self.n + other.n,
            self.crps_sum + other.crps_sum,
            self.variance + other.variance,
            self.squared_error + other.squared_error,
        )

    @property
    def crps(self) -> Float64Array:
        """Fair continuous ranked probability score [units]; lower is better, NaN if no pixel.

        What the score of endlessly many members would be on average, so that ensembles of
        different sizes compare; it may be slightly below 0.

        Source: Ferro (2014), Fair scores for ensemble forecasts; from sorted members as the
        estimator PWM of Zamo and Naveau (2018), which they show to be equal.
        """
        return safe_divide(self.crps_sum, self.n)

    @property
    def spread(self) -> Float64Array:
        """Root of the mean variance of the members (lead,) [units]."""
        return np.sqrt(safe_divide(self.variance, self.n))

    @property
    def rmse(self) -> Float64Array:
        """Root mean squared error of the mean of the members (lead,) [units]."""
        return np.sqrt(safe_divide(self.squared_error, self.n))

    @property
    def spread_skill(self) -> Float64Array:
        """Spread over error: 1 if members and truth could change places, below 1 too sure.

        Source: Fortin et al. (2014), Why should ensemble spread match the RMSE of the ensemble
        mean?, whose factor sqrt((M + 1) / M) for the error of a mean of M members is applied.
        """
        finite_size = np.sqrt((self.n_members + 1) / self.n_members)
        return safe_divide(finite_size * self.spread, self.rmse)


def _sum_lead(members: Float64Array, truth: AnyArray) -> tuple[float, float, float, float]:
    """Sum the pixels of one lead, members (member, pixel) and truth (pixel,)."""
    size = len(members)
    error = np.sort(members - truth, axis=0)  # sorted as members are, and small
    mean = error.mean(axis=0)
    ranks = (2 * np.arange(1, size + 1) - size - 1) / (size * (size - 1))
    half_distance = ranks @ error  # half the mean distance of two different members (pixel,)
    crps = np.abs(error).mean(axis=0) - half_distance
    variance = np.square(error - mean).sum() / (size - 1)
    return float(truth.size), float(crps.sum()), float(variance), float(np.square(mean).sum())


def _check_several(members: AnyArray) -> None:
    if members.ndim != 4 or len(members) < 2:
        raise ValueError(
            f"members have shape {members.shape}, so they have no spread; give two or more as "
            "(member, lead, y, x)"
        )


def _resolve_valid_members(
    members: AnyArray, truth: AnyArray, valid: BoolArray | None
) -> BoolArray:
    if members.shape[1:] != truth.shape:
        raise ValueError(
            f"members have shape {members.shape} but the truth {truth.shape}, so pixels cannot "
            "be compared; give (member, lead, y, x) and (lead, y, x) on one window"
        )
    if valid is None:
        return np.isfinite(members).all(axis=0) & np.isfinite(truth)
    where = resolve_valid(truth, valid)
    resolve_valid(members, where)
    return where
