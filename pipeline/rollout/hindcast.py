"""Forecast the past from what was known then, and score it tile by tile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from pipeline.executors import Executor
from pipeline.metrics.ensemble import EnsembleSums
from pipeline.metrics.intervals import ConformityHistogram, Coverage
from pipeline.metrics.quantiles import QuantileSums
from pipeline.metrics.scores import ErrorSums, score_all
from pipeline.rollout.baselines import available_baselines, forecast_baselines
from pipeline.rollout.blend import blend_in_memory
from pipeline.rollout.forecaster import Forecaster, forecaster_of
from pipeline.rollout.products import LOWER, UPPER, make_products, quantiles_of, raw_interval
from pipeline.rollout.request import ForecastRequest
from pipeline.rollout.rollout_plan import LeadBlock
from pipeline.streams.fields import FIELDS, read_scored_area
from pipeline.streams.input_stack import InputStack
from pipeline.tiling.tiles import Tile
from stores.array_types import Float32Array
from stores.bundle import read_bundle
from stores.cube import Cube
from stores.times import Time

ErrorsByMethod = dict[str, ErrorSums]

MODEL = "model"


@dataclass(frozen=True, slots=True)
class HindcastTile:
    """One tile of one hindcast."""

    init: Time
    tile: Tile
    part: str
    """Part whose pixels count."""
    neighbors: tuple[Tile, ...] = ()
    """Tiles that are blended with it; none where tiles are exact."""


@dataclass(frozen=True, slots=True)
class HindcastSums:
    """Sums of some hindcasts, merged with ``+``."""

    errors: ErrorsByMethod
    """By method, all on the same pixels."""
    ensemble: EnsembleSums | None = None
    quantiles: QuantileSums | None = None
    coverage: Coverage | None = None
    """Of the calibrated intervals."""

    def __add__(self, other: HindcastSums) -> HindcastSums:
        errors = {name: sums + other.errors[name] for name, sums in self.errors.items()}
        return HindcastSums(
            errors,
            self.ensemble and other.ensemble and self.ensemble + other.ensemble,
            self.quantiles and other.quantiles and self.quantiles + other.quantiles,
            self.coverage and other.coverage and self.coverage + other.coverage,
        )


def hindcast(
    request: ForecastRequest, cases: Sequence[HindcastTile], *, executor: Executor
) -> Iterator[HindcastSums]:
    """Score forecasts from every init, with the baselines on the same pixels.

    Sums are merged by the caller in the order given here, which does not depend on workers.
    """
    first = min(case.init for case in cases)
    target = InputStack.from_json(read_bundle(request.bundles[0]).description["stack"]).target
    methods = available_baselines(Cube.open(request.cube), target.variable, first)
    return executor.with_gpu(request.needs_gpu).map(partial(_score, request, methods), cases)


def conformity_scores(
    request: ForecastRequest, cases: Sequence[HindcastTile], level: float, *, executor: Executor
) -> Iterator[ConformityHistogram]:
    """Score how far intervals of ``level`` miss the truth, before they are calibrated."""
    return executor.with_gpu(request.needs_gpu).map(partial(_conform, request, level), cases)


def plan_hindcast_tiles(
    request: ForecastRequest, inits: Sequence[Time], tiles: Sequence[Tile], part: str
) -> list[HindcastTile]:
    """List every tile of every hindcast of a part that has a pixel which counts."""
    fields = request.bundles[0] / FIELDS
    blends = request.mode == "blend"
    neighbors = {
        tile: tuple(other for other in tiles if blends and other.reads.intersects(tile.owns))
        for tile in tiles
        if read_scored_area(fields, part, tile.owns).any()
    }
    return [
        HindcastTile(init, tile, part, neighbors[tile]) for init in inits for tile in neighbors
    ]


def count_scored(request: ForecastRequest, tiles: Iterable[Tile], part: str) -> int:
    """Count the pixels that count when a part is scored."""
    fields = request.bundles[0] / FIELDS
    return sum(int(read_scored_area(fields, part, tile.owns).sum()) for tile in tiles)


def _score(
    request: ForecastRequest, methods: Sequence[str], case: HindcastTile
) -> HindcastSums:
    """Forecast and score one tile from one init."""
    past = replace(request, init=case.init)
    forecaster = forecaster_of(past)
    source = forecaster.source
    tile = case.tile
    block = LeadBlock(0, past.leads)
    times = forecaster.lead_times(past, block)
    restore = forecaster.inverse_transform_of(tile, past, block)
    members = _members(forecaster, past, case)
    products = make_products(members, restore, past)
    truth = source.truth(tile.owns, times)
    scored = source.scored_area(case.part, tile.owns)
    baselines = forecast_baselines(source, tile, case.init, times, methods)
    errors = score_all({MODEL: products[""]} | baselines, truth, scored)
    ensemble = quantiles = coverage = None
    scored_truth = np.where(scored, truth, np.float32(np.nan))
    if quantile_fields := quantiles_of(products, past):
        quantiles = QuantileSums.of(quantile_fields, scored_truth)
    if past.members.n > 1:
        physical = np.stack([restore(member) for member in members])
        ensemble = EnsembleSums.of(physical, scored_truth)
    if past.calibration is not None:
        coverage = Coverage.of(products[LOWER], products[UPPER], scored_truth)
    return HindcastSums(errors, ensemble, quantiles, coverage)


def _conform(request: ForecastRequest, level: float, case: HindcastTile) -> ConformityHistogram:
    """Compare one tile from one init with the truth, in the network's space."""
    past = replace(request, init=case.init)
    owns = case.tile.owns
    forecaster = forecaster_of(past)
    times = forecaster.lead_times(past, LeadBlock(0, past.leads))
    lower, upper = raw_interval(_members(forecaster, past, case), past, level)
    source = forecaster.source
    scored = source.scored_area(case.part, owns)
    truth = np.where(scored, source.target(owns, times), np.float32(np.nan))
    return ConformityHistogram.of(lower, upper, truth)


def _members(
    forecaster: Forecaster, request: ForecastRequest, case: HindcastTile
) -> Float32Array:
    """Forecast what a tile owns (m, leads, y, x), normalized, as it would be published."""
    if not case.neighbors:
        return forecaster.forecast_owned(case.tile, request)
    return blend_in_memory(forecaster, request, case.neighbors, case.tile.owns)
