"""Intervals that hold the truth as often as they say, and how often they did."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

import numpy as np

from pipeline.metrics.lead_names import format_leads
from pipeline.metrics.moments import resolve_valid
from stores.array_types import AnyArray, BoolArray, Float64Array, IntArray

_PER_UNIT = 256  # bins in one normalized unit: a power of two, so that no edge is rounded
_END = 16  # scores beyond -16 and 16 are counted in two open bins [normalized units]
_N_BINS = 2 * _END * _PER_UNIT + 2
_EDGES = np.append(np.arange(_N_BINS - 1) / _PER_UNIT - _END, np.inf)  # upper edge of each bin


class TooFewError(ValueError):
    """A part of the series holds too little to learn margins from it."""


@dataclass(frozen=True, slots=True, eq=False)
class ConformityHistogram:
    """Histogram of the conformity scores of each lead, (lead, bin).

    The score of a truth y is E = max(lower - y, y - upper): by how much the interval misses
    it, negative inside. A single forecast is an interval without width, and E its absolute
    error. Everything is in normalized units (standard deviations of the network's space), in
    bins of 1/256 that hold their upper edge, from -16 to 16 and open at both ends.

    Source: Romano, Patterson and Candes (2019), Conformalized quantile regression, eq. 6; they
    keep every score, we keep counts, so a margin is too wide by less than 1/256.
    """

    counts: IntArray

    @classmethod
    def zero(cls, n_leads: int) -> Self:
        """Start with nothing scored."""
        return cls(np.zeros((n_leads, _N_BINS), dtype=np.int64))

    @classmethod
    def of(
        cls, lower: AnyArray, upper: AnyArray, truth: AnyArray, valid: BoolArray | None = None
    ) -> Self:
        """Score one interval, or one forecast as both of its ends, against the truth.

        Args:
            lower: lower ends (lead, y, x) [normalized units].
            upper: upper ends (lead, y, x) [normalized units].
            truth: values (lead, y, x) [normalized units].
            valid: pixels that count, broadcast to (lead, y, x); finite ones by default.

        Raises:
            ValueError: shapes differ, or ``valid`` says True where a value is not finite.
        """
        where = _resolve_valid_intervals(lower, upper, truth, valid)
        counts = cls.zero(len(truth)).counts
        for lead, valid_px in enumerate(where):  # one lead at a time bounds the memory
            low, high, true = (
                values[lead][valid_px].astype(np.float64) for values in (lower, upper, truth)
            )
            above = np.ceil(np.maximum(low - true, true - high) * _PER_UNIT) + _END * _PER_UNIT
            bins = np.clip(above, 0, _N_BINS - 1).astype(np.int64)
            counts[lead] = np.bincount(bins, minlength=_N_BINS)
        return cls(counts)

    def __add__(self, other: ConformityHistogram) -> Self:
        return type(self)(self.counts + other.counts)

    @property
    def n(self) -> IntArray:
        """Truths that were scored (lead,)."""
        n: IntArray = self.counts.sum(axis=1)
        return n

    def margins(self, level: float) -> Float64Array:
        """Compute how far to move both ends outward so that ``level`` of new truths lie inside.

        The margin of a lead is its ceil((n + 1) level)-th smallest score, rounded up to the
        edge of its bin (lead,) [normalized units]; it is negative where intervals were too
        wide. A truth drawn like those that were scored lies inside with a chance of at least
        ``level``: on average over pixels and inits, not at each place. Pixels of one init are
        alike, so trust follows the number of inits more than the number of pixels.

        Source: Romano, Patterson and Candes (2019), eq. 7 and 8, theorem 1.

        Raises:
            TooFewError: a lead has too few scores for this level.
            ValueError: ``level`` is no fraction, or too many scores are too large.
        """
        fraction = _exact_fraction(level)
        ranks = np.array([math.ceil((int(n) + 1) * fraction) for n in self.n], dtype=np.int64)
        _check_enough(self.n, ranks, level)
        reached = self.counts.cumsum(axis=1) >= ranks[:, None]  # (lead, bin)
        margins: Float64Array = _EDGES[reached.argmax(axis=1)]
        beyond = np.isinf(margins)
        if beyond.any():
            raise ValueError(
                f"at {_format_flagged_leads(beyond)} too many truths are missed by more than "
                f"{_END} standard deviations, so no margin holds level={level}; set "
                "rollout.interval=null, and look at the scores before asking for intervals "
                "again"
            )
        return margins


@dataclass(frozen=True, slots=True, eq=False)
class Coverage:
    """How many truths lay inside their intervals, and how wide these were; all (lead,)."""

    n: IntArray
    """Truths that counted [pixels]."""
    inside: IntArray
    """Truths from lower to upper end, both included [pixels]."""
    total_width: Float64Array
    """Sum of upper minus lower end [units of the forecast]."""

    @classmethod
    def zero(cls, n_leads: int) -> Self:
        """Start with nothing counted."""
        n, inside = np.zeros((2, n_leads), dtype=np.int64)
        return cls(n, inside, np.zeros(n_leads))

    @classmethod
    def of(
        cls, lower: AnyArray, upper: AnyArray, truth: AnyArray, valid: BoolArray | None = None
    ) -> Self:
        """Count one interval (lead, y, x) against the truth, all in units of the forecast.

        Args:
            lower: lower ends (lead, y, x) [units].
            upper: upper ends (lead, y, x) [units].
            truth: values (lead, y, x) [units].
            valid: pixels that count, broadcast to (lead, y, x); finite ones by default.

        Raises:
            ValueError: shapes differ, or ``valid`` says True where a value is not finite.
        """
        where = _resolve_valid_intervals(lower, upper, truth, valid)
        inside = where & (lower <= truth) & (truth <= upper)
        low, high = (np.where(where, values, 0).astype(np.float64) for values in (lower, upper))
        over = (1, 2)
        return cls(
            where.sum(axis=over, dtype=np.int64),
            inside.sum(axis=over, dtype=np.int64),
            (high - low).sum(axis=over),
        )

    def __add__(self, other: Coverage) -> Self:
        return type(self)(
            self.n + other.n, self.inside + other.inside, self.total_width + other.total_width
        )

    @property
    def fraction(self) -> Float64Array:
        """Fraction of truths inside (lead,); NaN where none counted."""
        return _divide_by_count(self.inside, self.n)

    @property
    def mean_width(self) -> Float64Array:
        """Mean of upper minus lower end (lead,) [units]; NaN where none counted."""
        return _divide_by_count(self.total_width, self.n)


def _resolve_valid_intervals(
    lower: AnyArray, upper: AnyArray, truth: AnyArray, valid: BoolArray | None
) -> BoolArray:
    """Return where all three count (lead, y, x), finite values by default."""
    named = {"lower": lower, "upper": upper, "truth": truth}
    if truth.ndim != 3 or any(values.shape != truth.shape for values in named.values()):
        shapes = ", ".join(f"{name} {values.shape}" for name, values in named.items())
        raise ValueError(
            f"shapes are {shapes}, so pixels cannot be compared; give all as (lead, y, x) on "
            "one window"
        )
    if valid is None:
        return np.isfinite(lower) & np.isfinite(upper) & np.isfinite(truth)
    where = resolve_valid(truth, valid)
    return where & resolve_valid(lower, where) & resolve_valid(upper, where)


def _exact_fraction(level: float) -> Fraction:
    """Read a level as it is written: 0.55 of 100 is 55, but in floats a little more."""
    if not 0 < level < 1:
        raise ValueError(
            f"level={level} is no share of truths, so no interval could hold it; choose one "
            "between 0 and 1, such as 0.9"
        )
    return Fraction(str(float(level)))


def _check_enough(n: IntArray, ranks: IntArray, level: float) -> None:
    few = ranks > n  # (lead,)
    if few.any():
        fraction = _exact_fraction(level)
        raise TooFewError(
            f"only {int(n[few].min())} truths were scored at {_format_flagged_leads(few)}, so "
            f"none of them is a safe margin at level={level}; calibrate on at least "
            f"{math.ceil(fraction / (1 - fraction))}, or lower the level"
        )


def _format_flagged_leads(leads: BoolArray) -> str:
    return format_leads(int(index) + 1 for index in np.flatnonzero(leads))


def _divide_by_count(total: AnyArray, n: IntArray) -> Float64Array:
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)
