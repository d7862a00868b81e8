"""Forecast the past from what was known then, and score it tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from pipeline.metrics.scores import ErrorSums, score_all
from pipeline.rollout.forecaster import forecaster_of
from pipeline.rollout.plan import Block
from pipeline.rollout.products import make_products
from pipeline.rollout.request import Request
from pipeline.spread import Spread
from pipeline.streams.read import Source
from pipeline.streams.transforms import Values
from pipeline.tiling.plan import Tile
from stores.cube import Cube
from stores.times import Time, Times

Sums = dict[str, ErrorSums]

MODEL = "model"
PERSISTENCE, CLIMATOLOGY, SEASONAL_NAIVE = "persistence", "climatology", "seasonal_naive"


@dataclass(frozen=True, slots=True)
class Case:
    """One tile of one hindcast."""

    init: Time
    tile: Tile


def hindcast(
    request: Request, inits: Sequence[Time], tiles: Sequence[Tile], *, spread: Spread
) -> Iterator[tuple[Case, Sums]]:
    """Score forecasts from every init, with the baselines on the same pixels.

    Sums are merged by the caller in the order given here, which does not depend on workers.
    """
    cases = [Case(init, tile) for init in inits for tile in tiles]
    methods = possible_baselines(Cube.open(request.cube), min(inits))
    sums = spread.ordered(partial(_score, request, methods), cases)
    yield from zip(cases, sums, strict=True)


def merge(parts: Sequence[Sums]) -> Sums:
    """Add the sums of several cases, method by method."""
    total = dict(parts[0])
    for part in parts[1:]:
        total = {method: total[method] + sums for method, sums in part.items()}
    return total


def possible_baselines(cube: Cube, first: Time) -> tuple[str, ...]:
    """List the baselines that every init from ``first`` on has, so that all are comparable.

    Seasonal naive needs seasons, and a year of observations before the first init.
    """
    seasonal = cube.step.n_seasons > 1
    if seasonal and _years_before(cube.step.add(first, 1), first) >= cube.times[0]:
        return (PERSISTENCE, CLIMATOLOGY, SEASONAL_NAIVE)
    return (PERSISTENCE, CLIMATOLOGY)


def _score(request: Request, methods: Sequence[str], case: Case) -> Sums:
    """Forecast and score one tile from one init."""
    request, tile = replace(request, init=case.init), case.tile
    forecaster = forecaster_of(request)
    source, times = forecaster.source, forecaster.lead_times(request, Block(0, request.leads))
    restore = partial(forecaster.restore, tile, request=request, times=times)
    products = make_products(forecaster.owned(tile, request), restore, request)
    simple = baselines(source, tile, case.init, times, methods)
    forecasts = {MODEL: products[""]} | simple
    return score_all(forecasts, source.truth(tile.owns, times), source.domain(tile.owns))


def baselines(
    source: Source, tile: Tile, init: Time, times: Times, methods: Sequence[str]
) -> dict[str, Values]:
    """Forecast what a tile owns (leads, y, x) in the ways that cost nothing.

    Persistence repeats the frame of ``init``, climatology is the seasonal mean of the training
    part, and seasonal naive repeats the last year that was observed at ``init``.
    """
    owns = tile.owns
    makers: dict[str, Callable[[], Values]] = {
        PERSISTENCE: lambda: np.repeat(
            source.truth(owns, np.array([init])), len(times), axis=0
        ),
        CLIMATOLOGY: lambda: source.climatology(owns, times),
        SEASONAL_NAIVE: lambda: source.truth(
            owns, np.array([_years_before(time, init) for time in times])
        ),
    }
    return {method: makers[method]() for method in methods}


def _years_before(time: Time, init: Time) -> Time:
    """Go back whole years from ``time`` until it was observed at ``init``."""
    months = time.astype("datetime64[M]")
    within = time - months.astype("datetime64[s]")
    while months.astype("datetime64[s]") + within > init:
        months = months - np.timedelta64(12, "M")
    back: Time = months.astype("datetime64[s]") + within
    return back
