"""Scores per lead as sums that are merged in any order."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import reduce
from operator import add
from typing import Self

import numpy as np

from pipeline.metrics.moments import Moments, resolve_valid, safe_divide
from stores.array_types import AnyArray, BoolArray, Float64Array

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class ErrorSums:
    """What the scores of one method are made of; every array is (lead,).

    Forecast, truth and their product are kept about their means: squares of values near 400
    would lose a spread of 0.05.
    """

    forecast: Moments
    truth: Moments
    comoment: Float64Array
    """Sum of the products of both deviations from their means."""
    error: Float64Array
    absolute_error: Float64Array
    squared_error: Float64Array
    n_changes: Float64Array
    """Pixels that count at this lead and at the one before; 0 at the first."""
    forecast_change: Float64Array
    """Sum of squared differences between the forecast of this lead and of the one before."""
    truth_change: Float64Array

    @classmethod
    def zero(cls, n_leads: int) -> Self:
        """Start with nothing scored."""
        sums = np.zeros((7, n_leads))
        return cls(Moments.zero((n_leads,)), Moments.zero((n_leads,)), *sums)

    @classmethod
    def of(cls, forecast: AnyArray, truth: AnyArray, valid: BoolArray | None = None) -> Self:
        """Sum one forecast (lead, y, x) against the truth.

        Args:
            forecast: values (lead, y, x).
            truth: values (lead, y, x).
            valid: pixels that count, broadcast to (lead, y, x); finite ones by default.

        Raises:
            ValueError: shapes differ, or ``valid`` says True where a value is not finite.
        """
        _check_shape("forecast", forecast, truth)
        where = np.isfinite(forecast) & np.isfinite(truth) if valid is None else valid
        where = resolve_valid(forecast, where) & resolve_valid(truth, where)
        over = (1, 2)
        forecasts = Moments.of(forecast, where, axis=over)
        truths = Moments.of(truth, where, axis=over)
        from_mean = _zero_where_invalid(forecast, where) - forecasts.mean[:, None, None]
        product = from_mean * (_zero_where_invalid(truth, where) - truths.mean[:, None, None])
        error = _zero_where_invalid(forecast, where) - _zero_where_invalid(truth, where)
        return cls(
            forecasts,
            truths,
            np.where(where, product, 0).sum(axis=over),
            error.sum(axis=over),
            np.abs(error).sum(axis=over),
            (error * error).sum(axis=over),
            *_changes(forecast, truth, where),
        )

    def __add__(self, other: ErrorSums) -> Self:
        weight = safe_divide(self.n * other.n, self.n + other.n, empty=0.0)
        forecast_offset = other.forecast.mean - self.forecast.mean
        truth_offset = other.truth.mean - self.truth.mean
        comoment = self.comoment + other.comoment + forecast_offset * truth_offset * weight
        plain_sums = (getattr(self, name) + getattr(other, name) for name in _PLAIN)
        return type(self)(
            self.forecast + other.forecast, self.truth + other.truth, comoment, *plain_sums
        )

    def at(self, lead: int) -> Self:
        """Return the sums of one lead, counted from 0."""
        forecast, truth = (
            Moments(
                *(getattr(moments, name)[lead : lead + 1] for name in ("count", "mean", "m2"))
            )
            for moments in (self.forecast, self.truth)
        )
        plain_sums = (getattr(self, name)[lead : lead + 1] for name in ("comoment", *_PLAIN))
        return type(self)(forecast, truth, *plain_sums)

    def pooled(self) -> Self:
        """Merge all leads into one."""
        return reduce(add, (self.at(lead) for lead in range(self.n_leads)), type(self).zero(1))

    @property
    def n_leads(self) -> int:
        """How many leads are scored."""
        return len(self.comoment)

    @property
    def n(self) -> Float64Array:
        """Pixels that counted (lead,)."""
        return self.truth.count

    @property
    def bias(self) -> Float64Array:
        """Mean of forecast minus truth (lead,) [units]."""
        return safe_divide(self.error, self.n)

    @property
    def mse(self) -> Float64Array:
        """Mean squared error (lead,) [units squared]."""
        return safe_divide(self.squared_error, self.n)

    @property
    def rmse(self) -> Float64Array:
        """Root mean squared error (lead,) [units]."""
        return np.sqrt(self.mse)

    @property
    def mae(self) -> Float64Array:
        """Mean absolute error (lead,) [units]."""
        return safe_divide(self.absolute_error, self.n)

    @property
    def sd_forecast(self) -> Float64Array:
        """Standard deviation of the forecast (lead,) [units]."""
        return self.forecast.std

    @property
    def sd_truth(self) -> Float64Array:
        """Standard deviation of the truth (lead,) [units]."""
        return self.truth.std

    @property
    def r2(self) -> Float64Array:
        """Coefficient of determination (lead,): 1 - SSE / SST, SST about the truth's mean.

        Not the squared correlation: bias and wrong variance cost. NaN for a constant truth.
        """
        return 1 - safe_divide(self.squared_error, self.truth.m2)

    @property
    def correlation(self) -> Float64Array:
        """Pearson correlation (lead,); NaN where either is constant."""
        scale = np.sqrt(self.forecast.m2 * self.truth.m2)
        return np.clip(safe_divide(self.comoment, scale), -1.0, 1.0)


_PLAIN = tuple(field.name for field in fields(ErrorSums))[3:]  # added as they are


def score_all(
    forecasts: Mapping[str, AnyArray], truth: AnyArray, domain: BoolArray
) -> dict[str, ErrorSums]:
    """Score every method on the same pixels.

    A pixel counts at a lead when it lies in the domain and the truth and every method are
    finite there. A method that takes many pixels from the others is named in the log.

    Args:
        forecasts: values (lead, y, x) by method.
        truth: values (lead, y, x).
        domain: pixels where a forecast is wanted, (y, x) or (lead, y, x).

    Raises:
        ValueError: a method has another shape than the truth.
    """
    in_domain = np.isfinite(truth) & domain  # (lead, y, x)
    valid = in_domain.copy()
    for method, values in forecasts.items():
        _check_shape(method, values, truth)
        valid &= np.isfinite(values)
    _report_lost(forecasts, in_domain, valid)
    return {method: ErrorSums.of(values, truth, valid) for method, values in forecasts.items()}


def _report_lost(
    forecasts: Mapping[str, AnyArray], in_domain: BoolArray, valid: BoolArray
) -> None:
    if valid.sum() * 2 >= in_domain.sum():
        return
    for method, values in forecasts.items():
        missing = int((in_domain & ~np.isfinite(values)).sum())
        if missing:
            _logger.warning(
                "%s has no value at %d of %d pixels that have a truth, so no method is scored "
                "there; see why it has none",
                method,
                missing,
                int(in_domain.sum()),
            )


def _check_shape(method: str, values: AnyArray, truth: AnyArray) -> None:
    if values.ndim != 3 or values.shape != truth.shape:
        raise ValueError(
            f"{method} has shape {values.shape} but the truth {truth.shape}, so pixels cannot "
            "be compared; give both as (lead, y, x) on one window"
        )


def _changes(
    forecast: AnyArray, truth: AnyArray, where: BoolArray
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Count and sum the squared changes from each lead to the next (lead,)."""
    counts = np.zeros_like(where)
    counts[1:] = where[1:] & where[:-1]
    sums = []
    for values in (forecast, truth):
        step = np.diff(_zero_where_invalid(values, where), axis=0, prepend=0.0)
        sums.append(np.where(counts, step * step, 0).sum(axis=(1, 2)))
    return counts.sum(axis=(1, 2), dtype=np.float64), sums[0], sums[1]


def _zero_where_invalid(values: AnyArray, where: BoolArray) -> Float64Array:
    return np.where(where, values, 0).astype(np.float64)
