"""Forecasts that cost nothing: what a model must beat to be worth its cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.streams.source import Source
from pipeline.tiling.tiles import Tile
from stores.array_types import Float32Array
from stores.cube import Cube
from stores.seasons import has_period, shift_to_observed
from stores.times import Time, Times
from stores.windows import Window

PERSISTENCE = "persistence"
CLIMATOLOGY = "climatology"
SEASONAL_NAIVE = "seasonal_naive"

ForecastWindow = Callable[[Source, Window, Time, Times], Float32Array]
"""Called with what is read, a window, the init and the dates of all leads; (leads, y, x)."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """A way to forecast without a model."""

    forecast: ForecastWindow
    is_available: Callable[[Cube, str, Time], bool] = lambda cube, target, first: True
    """Whether every init from ``first`` on has it, given the variable that is forecast."""


def _repeat_init(source: Source, owns: Window, init: Time, times: Times) -> Float32Array:
    """Repeat the frame of ``init`` (leads, y, x)."""
    return np.repeat(source.truth(owns, np.array([init])), len(times), axis=0)


def _seasonal_mean(source: Source, owns: Window, init: Time, times: Times) -> Float32Array:
    """Read the seasonal mean of the training part (leads, y, x)."""
    return source.climatology(owns, times)


def _repeat_period(source: Source, owns: Window, init: Time, times: Times) -> Float32Array:
    """Repeat the last year, or day, that was observed at ``init`` (leads, y, x)."""
    step = source.open().step
    return source.truth(owns, np.array([shift_to_observed(step, t, init) for t in times]))


def _has_period(cube: Cube, target: str, first: Time) -> bool:
    """Whether there are seasons, and a whole period was observed before the first init."""
    step = cube.step
    begin = cube.dates[target][0]
    return has_period(step) and bool(
        shift_to_observed(step, step.add(first, 1), first) >= begin
    )


BASELINES: dict[str, Baseline] = {
    PERSISTENCE: Baseline(_repeat_init),
    CLIMATOLOGY: Baseline(_seasonal_mean),
    SEASONAL_NAIVE: Baseline(_repeat_period, _has_period),
}
"""Every baseline by its name in tables of scores (``metrics.BASELINES``)."""


def available_baselines(cube: Cube, target: str, first: Time) -> tuple[str, ...]:
    """List the baselines that every init from ``first`` on has, so that all are comparable.

    Seasonal naive needs seasons, and a whole period of observations before the first init.
    """
    return tuple(
        name for name, one in BASELINES.items() if one.is_available(cube, target, first)
    )


def forecast_baselines(
    source: Source, tile: Tile, init: Time, times: Times, methods: Sequence[str]
) -> dict[str, Float32Array]:
    """Forecast what a tile owns (leads, y, x) by each of the baselines named.

    Persistence repeats the frame of ``init``, climatology is the seasonal mean of the training
    part - outside of its area, the mean over it - and seasonal naive repeats the last year
    (day, for steps below a day) that was observed at ``init``.
    """
    return {
        method: BASELINES[method].forecast(source, tile.owns, init, times) for method in methods
    }
