"""Permutation importance: what forecasts of the past lose when one covariate is permuted.

Every forecast of a part is made again with one covariate taken from elsewhere: dated channels
and the target's history from the forecast of another init, at the same leads; static channels
shifted over the grid (``permutation.read_shifted_statics``). The rest, the truth and the
pixels stay.

Source: Breiman (2001), section 10, and the model reliance of Fisher, Rudin and Dominici
(2019), eq. 3.1, as a ratio of squared errors. Departures: whole maps are permuted among inits
or moved over the grid rather than single values, because networks read neighborhoods; the
permutation has no fixed point. Its flaw is theirs: of covariates that carry the same each
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
    """One tile of one hindcast, and where each repeat takes permuted values from."""

    case: HindcastTile
    permutations: tuple[Permutation, ...]


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
        """Describe what could be dropped, and how to make sure."""
        without_gain = uninformative(self.table)
        part = f"on the {self.trial.part} part"
        dispensable = [name for name in without_gain if name != HISTORY]
        messages = [f"every covariate helps {part}"]
        if dispensable:
            messages = [
                f"dropping {', '.join(dispensable)} would cost this model nothing {part}; "
                "covariates that say the same hide each other, so drop one at a time, "
                "train again and evaluate"
            ]
        if HISTORY in without_gain:
            messages.append("the target's own history does not help either")
        return "; ".join(messages)


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
    single = replace(request, members=replace(request.members, n=1), calibration=None)
    sums = executor.with_gpu(request.needs_gpu).map(partial(_measure, single), planned)
    total = merge_sums(sums, len(planned), on_progress)
    table = importance_table(total, units=spec.units)
    return ImportanceResult(trial, table, [cube.step.label(init) for init in inits])


def _warn_few_permutations(n_inits: int, repeats: int) -> None:
    n_cycles = math.factorial(min(n_inits, 10) - 1)
    if n_cycles < repeats:
        log.warning(
            "%d forecasts can be permuted in %d way(s), fewer than the %d repeats, so the "
            "spread of what has a date says too little about noise; choose a longer part",
            n_inits,
            n_cycles,
            repeats,
        )


def plan_permuted(
    request: ForecastRequest,
    inits: Sequence[Time],
    tiles: Sequence[Tile],
    trial: ImportanceSpec,
) -> list[PermutedTile]:
    """List every tile of every hindcast with its permutations; no value is read."""
    grid = Cube.open(request.cube).grid
    shape = (grid.height, grid.width)
    permutations = plan_permutations(inits, shape, repeats=trial.repeats, seed=trial.seed)
    cases = plan_hindcast_tiles(request, inits, tiles, trial.part)
    return [PermutedTile(case, permutations[case.init]) for case in cases]


def _measure(request: ForecastRequest, planned: PermutedTile) -> PermutationSums:
    """Score one tile from one init, as it is and with each covariate permuted."""
    case = planned.case
    past = replace(request, init=case.init)
    forecaster = forecaster_of(past)
    source = forecaster.source
    tiles = case.neighbors or (case.tile,)
    owns = case.tile.owns
    block = LeadBlock(0, past.leads)
    forecast = partial(_forecast, forecaster, past, case)
    original = [forecaster.read(tile, past, block) for tile in tiles]
    unpermuted = forecast(original)
    truth = source.truth(owns, forecaster.lead_times(past, block))
    valid = source.scored_area(case.part, owns) & np.isfinite(truth) & np.isfinite(unpermuted)
    covariates = list_covariates(source.stack)
    sums: dict[str, list[ErrorSums]] = {covariate.name: [] for covariate in covariates}
    for permutation in planned.permutations:
        permuted = [read_permuted(forecaster, tile, past, permutation) for tile in tiles]
        for covariate in covariates:
            inputs = [
                replace_channels(*pair, covariate)
                for pair in zip(original, permuted, strict=True)
            ]
            sums[covariate.name].append(ErrorSums.of(forecast(inputs), truth, valid))
    by_covariate = {name: tuple(repeats) for name, repeats in sums.items()}
    return PermutationSums(ErrorSums.of(unpermuted, truth, valid), by_covariate)


def _forecast(
    forecaster: Forecaster,
    request: ForecastRequest,
    case: HindcastTile,
    inputs: Sequence[TileInputs],
) -> Float32Array:
    """Roll the inputs of a case's tiles out; return what it owns (leads, y, x) [units]."""
    block = LeadBlock(0, request.leads)
    tile = case.tile
    predictions = [
        forecaster.rollout([neighbor], forecaster.collate([of_tile]), request, block).frames[0]
        for neighbor, of_tile in zip(case.neighbors or (tile,), inputs, strict=True)
    ]  # each (m, leads, y, x)
    if case.neighbors:
        members = blend_predictions(predictions, case.neighbors, tile.owns, request.taper)
    else:
        members = predictions[0][..., *tile.crop.slices]
    owned = members[request.central_index]
    return forecaster.to_physical(tile, owned, request, forecaster.lead_times(request, block))
