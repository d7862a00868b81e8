"""Statistics that are gathered piece by piece and merged in any order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from stores.array_types import AnyArray, BoolArray, Float32Array, Float64Array, IntArray
from stores.seasons import Seasons

_BLOCK = 65_536  # pixels whose normal equations are in memory at once: 40 MB at four harmonics
_MOST_HARMONICS = 4  # what a gap is filled with when the recipe keeps every season apart


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Count, mean and sum of squared deviations of values seen so far.

    Kept about the mean, because sums of squares lose every digit of a spread of 0.05 about a
    mean of 400. Arrays merge element by element and broadcast.

    Source: Chan, Golub and LeVeque (1979), Updating formulae and a pairwise algorithm for
    computing sample variances, eq. 2.1; a piece is summed in two passes with their correction.
    """

    count: Float64Array
    mean: Float64Array
    m2: Float64Array

    @classmethod
    def zero(cls, shape: tuple[int, ...] = ()) -> Self:
        """Start with nothing seen."""
        return cls(np.zeros(shape), np.zeros(shape), np.zeros(shape))

    @classmethod
    def of(
        cls,
        values: AnyArray,
        valid: BoolArray | None = None,
        *,
        axis: int | tuple[int, ...] | None = None,
    ) -> Self:
        """Compute the moments of ``values`` over ``axis``; over everything by default.

        Args:
            values: numbers (...) in any precision.
            valid: where to look, broadcast to ``values``; finite values by default.
            axis: axes that are summed over.

        Raises:
            ValueError: ``valid`` says True where a value is not finite.
        """
        where = resolve_valid(values, valid)
        count = where.sum(axis=axis, dtype=np.float64)
        mean = safe_divide(
            np.where(where, values, 0).sum(axis=axis, dtype=np.float64), count, empty=0.0
        )
        center = mean if axis is None else np.expand_dims(mean, axis)
        deviation = np.where(where, np.subtract(values, center, dtype=np.float64), 0.0)
        residual = deviation.sum(axis=axis)  # what rounding of the mean left
        correction = safe_divide(residual, count, empty=0.0)
        m2 = (deviation * deviation).sum(axis=axis) - safe_divide(
            residual * residual, count, empty=0.0
        )
        return cls(np.asarray(count), mean + correction, np.maximum(m2, 0.0))

    def __add__(self, other: Moments) -> Self:
        count = self.count + other.count
        fraction = safe_divide(other.count, count, empty=0.0)
        delta = other.mean - self.mean
        return type(self)(
            np.asarray(count),
            self.mean + delta * fraction,
            self.m2 + other.m2 + delta * delta * self.count * fraction,
        )

    @property
    def variance(self) -> Float64Array:
        """Mean squared deviation; NaN where nothing was seen."""
        return safe_divide(self.m2, self.count)

    @property
    def std(self) -> Float64Array:
        """Root of the variance; NaN where nothing was seen."""
        return np.sqrt(self.variance)


def resolve_valid(values: AnyArray, valid: BoolArray | None) -> BoolArray:
    """Return ``valid`` broadcast to ``values`` (...), finite values by default.

    Raises:
        ValueError: ``valid`` says True where a value is not finite.
    """
    finite: BoolArray = np.isfinite(values)
    if valid is None:
        return finite
    where = np.broadcast_to(valid, values.shape)
    n_bad = int((where & ~finite).sum())
    if n_bad:
        raise ValueError(
            f"{n_bad} of {where.sum()} values that valid marks as usable are NaN or infinite, "
            "so every statistic would become NaN; mark them invalid where they are read"
        )
    return where


def safe_divide(numerator: Any, denominator: Any, *, empty: float = np.nan) -> Float64Array:
    """Return the quotient (...) of arrays that broadcast, ``empty`` where it divides by 0."""
    nonzero = np.where(denominator == 0, 1.0, denominator)
    return np.asarray(np.where(denominator == 0, empty, numerator / nonzero))


@dataclass(frozen=True, slots=True, eq=False)
class SeasonalSums:
    """Sum and count of the values of each season and pixel, both (season, y, x)."""

    total: Float64Array
    count: IntArray

    @classmethod
    def zero(cls, n_seasons: int, shape: tuple[int, int]) -> Self:
        """Start with nothing seen on a window of ``shape`` (y, x)."""
        size = (n_seasons, *shape)
        return cls(np.zeros(size), np.zeros(size, dtype=np.int64))

    def add(self, values: AnyArray, seasons: npt.NDArray[np.integer[Any]]) -> Self:
        """Return these sums with more frames (t, y, x); what is not finite does not count.

        Args:
            values: frames (t, y, x).
            seasons: index of each frame's season on the first axis (t,).

        Raises:
            ValueError: shapes do not fit, or a season is out of range.
        """
        n_seasons, *shape = self.total.shape
        if values.shape != (len(seasons), *shape):
            raise ValueError(
                f"values have shape {values.shape} but {len(seasons)} seasons and a window of "
                f"{tuple(shape)} px are summed; give frames (t, y, x) with one season each"
            )
        if len(seasons) and not (seasons.min() >= 0 and seasons.max() < n_seasons):
            raise ValueError(
                f"seasons run from {seasons.min()} to {seasons.max()}, but the sums have "
                f"{n_seasons} from 0 to {n_seasons - 1}; take them from Seasons.index"
            )
        total = self.total.copy()
        count = self.count.copy()
        for season, frame in zip(seasons, values, strict=True):
            valid = np.isfinite(frame)
            total[season] += np.where(valid, frame, 0)
            count[season] += valid
        return type(self)(total, count)

    def __add__(self, other: SeasonalSums) -> Self:
        return type(self)(self.total + other.total, self.count + other.count)

    def means(self, seasons: Seasons, harmonics: int | None = None) -> Float32Array:
        """Compute the climatology (season, y, x).

        Seasons that a pixel never saw are filled from a harmonic fit of those it saw at the
        same time of day, or else from the mean of all it saw; pixels that saw none are NaN.

        Args:
            seasons: what the first axis is.
            harmonics: keep the mean and this many harmonics of the year, fitted to all values
                by least squares; every season's own mean by default.
        """
        n_seasons, rows, cols = self.total.shape
        flat = (n_seasons, rows * cols)
        total = self.total.reshape(flat)
        count = self.count.reshape(flat)
        means = np.empty(flat, dtype=np.float32)
        for start in range(0, rows * cols, _BLOCK):
            block = np.s_[:, start : start + _BLOCK]
            means[block] = _climatology(total[block], count[block], seasons, harmonics)
        return means.reshape(n_seasons, rows, cols)


def _climatology(
    total: Float64Array, count: IntArray, seasons: Seasons, harmonics: int | None
) -> Float64Array:
    """Compute the climatology of one block of pixels (season, pixel)."""
    means = np.empty(total.shape)
    for season_index, times in seasons.by_time_of_day():
        year = AnnualCycle(times, seasons.n_of_year)
        means[season_index] = _over_the_year(
            total[season_index], count[season_index], year, harmonics
        )
    overall = safe_divide(total.sum(axis=0), count.sum(axis=0))
    return np.where(np.isnan(means), overall, means)


@dataclass(frozen=True, slots=True, eq=False)
class AnnualCycle:
    """Seasons of one time of day: their times of year, of ``n`` that there are."""

    times: IntArray
    n: int

    def basis(self, harmonics: int) -> Float64Array:
        """Return one, then cosine and sine of each harmonic of the year (season, term)."""
        angle = 2 * np.pi * self.times / self.n
        waves = [wave(k * angle) for k in range(1, harmonics + 1) for wave in (np.cos, np.sin)]
        return np.stack([np.ones(len(self.times)), *waves], axis=1)


def _over_the_year(
    total: Float64Array, count: IntArray, year: AnnualCycle, harmonics: int | None
) -> Float64Array:
    """Compute the climatology of one time of day (season, pixel); NaN if nothing was seen."""
    season_mean = safe_divide(total, count)
    # As many terms as seasons need no fit.
    keeps_seasons_apart = harmonics is None or 2 * harmonics >= year.n
    if keeps_seasons_apart and bool((count > 0).all()):
        return season_mean
    n_wanted = _MOST_HARMONICS if harmonics is None else harmonics
    order = np.minimum(_determined_order(count > 0, year), min(n_wanted, (year.n - 1) // 2))
    fitted = np.full(total.shape, np.nan)
    for n_terms in np.unique(order[order >= 0]):
        pixels = order == n_terms
        basis = year.basis(int(n_terms))
        fitted[:, pixels] = _fit(total[:, pixels], count[:, pixels], basis)
    return np.where(count > 0, season_mean, fitted) if keeps_seasons_apart else fitted


def _determined_order(is_seen: BoolArray, year: AnnualCycle) -> IntArray:
    """Find the highest harmonic that the seasons determine (pixel,); -1 if none is seen.

    A gap must be shorter than half a period of the harmonic, or the fit swings freely in it;
    and there must be as many seen seasons as terms.
    """
    gap, longest = np.zeros((2, is_seen.shape[1]), dtype=np.int64)
    row = dict(zip(year.times.tolist(), is_seen, strict=True))
    nowhere = np.zeros(is_seen.shape[1], dtype=np.bool_)
    for time in range(2 * year.n):  # twice round: a gap may span the new year
        gap = np.where(row.get(time % year.n, nowhere), 0, gap + 1)
        longest = np.maximum(longest, gap)
    n_seen = is_seen.sum(axis=0)
    order = np.minimum(year.n // (2 * (longest + 1)), (n_seen - 1) // 2)
    return np.where(n_seen > 0, order, -1)


def _fit(total: Float64Array, count: IntArray, basis: Float64Array) -> Float64Array:
    """Fit waves (season, term) to all values of each pixel by least squares (season, pixel).

    Sums and counts suffice: they weigh each season's mean by how often it was seen.
    """
    n_terms = basis.shape[1]
    squares = (basis[:, :, None] * basis[:, None, :]).reshape(len(total), -1)
    normal = (count.T @ squares).reshape(-1, n_terms, n_terms)
    center = total.sum(axis=0) / count.sum(axis=0)  # solved about the mean, to keep its digits
    right = (total - count * center).T @ basis  # (pixel, term)
    terms = np.linalg.solve(normal, right[:, :, None])[:, :, 0]
    fitted: Float64Array = basis @ terms.T + center  # (season, pixel)
    return fitted
