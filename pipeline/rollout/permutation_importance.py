"""Permutation importance: what forecasts of the past lose when one covariate says nothing.

Every forecast of a part is made again with one covariate taken from elsewhere: dated channels
and the target's history from the forecast of another init, at the same leads; static channels
from another place (``permute.statics_elsewhere``). The rest, the truth and the pixels stay.

Source: Breiman (2001), section 10, and the model reliance of Fisher, Rudin and Dominici
(2019), eq. 3.1, as a ratio of squared errors. Departures: whole maps are permuted among inits
or moved over the grid rather than single values, because networks read neighborhoods; the
permutation has no fixed point. Its flaw is theirs: of covariates that say the same each
looks dispensable, since the other is still there, and combinations of values that never
occur are forecast from as well.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.executors import Executor
from pipeline.metrics.importance import (
    HISTORY,
    PermutationSums,
    importance_table,
    uninformative,
)
from pipeline.metrics.scores import ErrorSums
from pipeline.rollout.blend import blend_predictions
from pipeline.rollout.evaluate import merge_sums, plan_hindcasts
from pipeline.rollout.forecaster import Forecaster, TileInputs, forecaster_of
from pipeline.rollout.hindcast import HindcastTile, plan_hindcast_tiles
from pipeline.rollout.permutation import (
    Permutation,
    list_covariates,
    plan_permutations,
    read_permuted,
    replace_channels,
)
from pipeline.rollout.request import ForecastRequest, HindcastSpec
from pipeline.rollout.rollout_plan import LeadBlock
from pipeline.tiling.tiles import Tile
from stores.array_types import Float32Array
from stores.bundle import read_bundle
from stores.cube import Cube
from stores.files import write_json, write_text
from stores.progress import ProgressCallback
from stores.times import Time

log = logging.getLogger(__name__)

IMPORTANCE_FILE = "importance.csv"


@dataclass(frozen=True, slots=True)
class ImportanceSpec:
    """What is permuted: the forecasts of which part, how often, and by which seed."""

    part: str
    repeats: int = 3
    seed: int = 0


@dataclass(frozen=True, slots=True)
class PermutedTile:
    """One tile of one hindcast, and where each repeat takes foreign values from."""

    case: HindcastTile
    exchanges: tuple[Permutation, ...]


@dataclass(frozen=True)
class ImportanceResult:
    """What each covariate is worth on one part, with what a reader must know to trust it."""

    trial: ImportanceSpec
    table: pd.DataFrame
    """One row per covariate and lead, as ``importance_table`` gives it."""
    inits: list[str]
    """Labels of the hindcasts."""

    def save(self, folder: Path) -> Path:
        """Write the table as CSV, and how it was made beside it."""
        path = folder / IMPORTANCE_FILE
        write_text(path, self.table.to_csv(index=False))
        write_json(path.with_suffix(".json"), asdict(self.trial) | {"inits": self.inits})
        return path

    @property
    def verdict(self) -> str:
        """Say what could be dropped, and how to make sure."""
        found, part = uninformative(self.table), f"on the {self.trial.part} part"
        spare = [name for name in found if name != HISTORY]
        said = [f"every covariate helps {part}"]
        if spare:
            said = [
                f"dropping {', '.join(spare)} would cost this model nothing {part}; covariates "
                "that say the same hide each other, so drop one at a time, train again and "
                "evaluate"
            ]
        if HISTORY in found:
            said.append("the target's own history does not help either")
        return "; ".join(said)


def measure_importance(
    spec: HindcastSpec,
    request: ForecastRequest,
    tiles: Sequence[Tile],
    trial: ImportanceSpec,
    *,
    executor: Executor,
    on_progress: ProgressCallback,
) -> ImportanceResult:
    """Forecast a part as it is and with each covariate permuted in turn.

    Of an ensemble the first member is taken, with the same dropout and noise throughout; of
    quantiles the median.

    Raises:
        ValueError: the part holds one forecast only, so there is no other to take values from.
    """
    cube = Cube.open(request.cube)
    inits = plan_hindcasts(spec, read_bundle(request.bundles[0]), cube, request.leads).inits
    planned = plan_permuted(request, inits, tiles, trial)
    _warn_few_permutations(len(inits), trial.repeats)
    alone = replace(request, members=replace(request.members, n=1), calibration=None)
    found = executor.with_gpu(request.needs_gpu).map(partial(_measure, alone), planned)
    total = merge_sums(found, len(planned), on_progress)
    table = importance_table(total, units=spec.units)
    return ImportanceResult(trial, table, [cube.step.label(init) for init in inits])


def _warn_few_permutations(n_inits: int, repeats: int) -> None:
    n_circles = math.factorial(min(n_inits, 10) - 1)
    if n_circles < repeats:
        log.warning(
            "%d forecasts can be permuted in %d way(s), fewer than the %d repeats, so the "
            "spread of what has a date says too little about noise; choose a longer part",
            n_inits,
            n_circles,
            repeats,
        )


def plan_permuted(
    request: ForecastRequest,
    inits: Sequence[Time],
    tiles: Sequence[Tile],
    trial: ImportanceSpec,
) -> list[PermutedTile]:
    """List every tile of every hindcast with its foreign values; nothing of them is read."""
    grid = Cube.open(request.cube).grid
    shape = (grid.height, grid.width)
    exchanges = plan_permutations(inits, shape, repeats=trial.repeats, seed=trial.seed)
    cases = plan_hindcast_tiles(request, inits, tiles, trial.part)
    return [PermutedTile(case, exchanges[case.init]) for case in cases]


def _measure(request: ForecastRequest, planned: PermutedTile) -> PermutationSums:
    """Score one tile from one init, as it is and with each covariate permuted."""
    case, request = planned.case, replace(request, init=planned.case.init)
    forecaster, tiles = forecaster_of(request), case.neighbors or (case.tile,)
    source, owns = forecaster.source, case.tile.owns
    times = forecaster.lead_times(request, LeadBlock(0, request.leads))
    forecast = partial(_forecast, forecaster, request, case)
    own = [forecaster.read(tile, request, LeadBlock(0, request.leads)) for tile in tiles]
    plain, truth = forecast(own), source.truth(owns, times)
    valid = source.scored_area(case.part, owns) & np.isfinite(truth) & np.isfinite(plain)
    covariates = list_covariates(source.stack)
    sums: dict[str, list[ErrorSums]] = {covariate.name: [] for covariate in covariates}
    for exchange in planned.exchanges:
        foreign = [read_permuted(forecaster, tile, request, exchange) for tile in tiles]
        for covariate in covariates:
            swapped = [
                replace_channels(*both, covariate) for both in zip(own, foreign, strict=True)
            ]
            sums[covariate.name].append(ErrorSums.of(forecast(swapped), truth, valid))
    permuted = {name: tuple(repeats) for name, repeats in sums.items()}
    return PermutationSums(ErrorSums.of(plain, truth, valid), permuted)


def _forecast(
    forecaster: Forecaster,
    request: ForecastRequest,
    case: HindcastTile,
    parts: Sequence[TileInputs],
) -> Float32Array:
    """Roll out what the tiles of a case look at; give what it owns (leads, y, x) [units]."""
    block, tile = LeadBlock(0, request.leads), case.tile
    said = [
        forecaster.rollout([near], forecaster.collate([part]), request, block).frames[0]
        for near, part in zip(case.neighbors or (tile,), parts, strict=True)
    ]
    if case.neighbors:
        owned = blend_predictions(said, case.neighbors, tile.owns, request.taper)[
            request.central_index
        ]
    else:
        owned = said[0][request.central_index][..., *tile.crop.slices]
    return forecaster.to_physical(tile, owned, request, forecaster.lead_times(request, block))
