"""Fit one slope to all pixels and seasons of a training part, block by block."""

from __future__ import annotations

import logging
from functools import partial

import numpy as np

from pipeline.executors import Executor
from pipeline.streams.fields import read_part_area
from pipeline.streams.fit import FRAMES_AT_ONCE, VariableFit
from pipeline.streams.transforms import TransformSpec
from pipeline.streams.trend import TrendSums, Years, years_since
from stores.array_types import BoolArray, Float32Array
from stores.cube import Cube
from stores.seasons import CalendarCycle
from stores.windows import Window

log = logging.getLogger(__name__)


def fit_trend(fit: VariableFit, blocks: list[Window], executor: Executor) -> TransformSpec:
    """Fit the trend of a variable over its training frames.

    Raises:
        ValueError: the training part is too short to distinguish a rise from a season.
    """
    sums = sum(executor.map(partial(_sum_block, fit), blocks), start=TrendSums())
    step = fit.seasons.step
    if sums.slope is None or fit.seasons.n_of_year < CalendarCycle.of(step).n_times_of_year:
        first, last = (step.format(fit.times[index]) for index in (0, -1))
        raise ValueError(
            f"variable {fit.variable!r} has less than two years of training frames ({first} to "
            f"{last}), so a trend cannot be told from a season; lengthen split.train, or leave "
            "'trend' out"
        )
    log.info("%s: trend of %.4g a year over the training part", fit.variable, sums.slope)
    return {"kind": "trend", "slope": sums.slope, "origin": str(fit.times[0])}


def _sum_block(fit: VariableFit, window: Window) -> TrendSums:
    """Sum the training area of one block, season by season."""
    area = read_part_area(fit.fields, "train", window)
    times = np.array(fit.times)
    sums = TrendSums()
    seasons = fit.seasons.index(times)
    for season in np.unique(seasons) if area.any() else ():
        pixels = PixelSums(area)
        season_times = times[seasons == season]
        cube = Cube.open(fit.cube)
        for start in range(0, len(season_times), FRAMES_AT_ONCE):
            batch = season_times[start : start + FRAMES_AT_ONCE]
            pixels.add(cube.read(fit.variable, window, batch), years_since(times[0], batch))
        sums += pixels.centered()
    return sums


class PixelSums:
    """Sums over the frames of one season, for each pixel of an area (y, x)."""

    def __init__(self, area: BoolArray) -> None:
        self._area = area
        self._n, self._year, self._value, self._square, self._product = np.zeros(
            (5, *area.shape)
        )

    def add(self, values: Float32Array, years: Years) -> None:
        """Add frames (t, y, x) at ``years`` (t,)."""
        for frame, year in zip(values, years, strict=True):
            valid = np.isfinite(frame) & self._area
            values_or_0 = np.where(valid, frame, 0).astype(np.float64)
            self._n += valid
            self._year += year * valid
            self._value += values_or_0
            self._square += year**2 * valid
            self._product += year * values_or_0

    def centered(self) -> TrendSums:
        """Sum what is left about each pixel's means."""
        n = np.maximum(self._n, 1)
        products = self._product - self._year * self._value / n
        squares = self._square - self._year**2 / n
        # What is seen once leaves the rounding of its square.
        return TrendSums.of(products[self._n > 1], squares[self._n > 1])
