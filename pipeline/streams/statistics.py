"""Fit domain and transforms, block by block, on the training part alone.

The training part is its frames, and where parts are split by place also its area: neither
scalars nor climatologies know a value from elsewhere. Only where the target is valid in the
training frames is asked of the whole grid, because a forecast is wanted everywhere.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.executors import Executor
from pipeline.metrics.moments import Moments, SeasonalSums
from pipeline.registry import look_up
from pipeline.split import Split
from pipeline.streams.fields import (
    CLIMATOLOGY,
    DOMAIN,
    create_fields,
    field_blocks,
    finish_fields,
    has_parts,
    read_field_uncached,
    read_part_area,
    write_field,
)
from pipeline.streams.fit import VariableFit
from pipeline.streams.forcing_policy import last_available
from pipeline.streams.input_stack import InputStack
from pipeline.streams.spatial_split import fit_spatial_split
from pipeline.streams.spec import DomainSpec, FitSpec
from pipeline.streams.transforms import TransformSpec
from pipeline.streams.trend_fit import fit_trend
from stores.array_types import BoolArray, Float32Array, Float64Array
from stores.cube import Cube
from stores.formatting import pluralize
from stores.seasons import Seasons
from stores.times import Step
from stores.windows import Window

log = logging.getLogger(__name__)

_PIXEL = ("anomaly",)
_SCALAR = ("zscore", "minmax")


def fit_stack(spec: FitSpec, cube_path: Path, fields: Path, executor: Executor) -> InputStack:
    """Fit everything a network needs beside its weights, on the training part alone.

    Writes the fields: the domain, the target's climatology in physical units (the baseline),
    and the climatologies that ``anomaly`` and the future policy ``climatology`` need. Where
    parts are split by place: their areas, and outside of the training area climatologies hold
    the mean over it.

    Raises:
        ValueError: the training part holds no valid pixel of some variable.
    """
    cube = Cube.open(cube_path)
    times = training_times(spec.split, cube, spec.target)
    if not times:
        raise _nothing_to_learn(spec.target)
    seasons = Seasons.of(cube.step, np.array(times, dtype="datetime64[s]"))
    _create_fields(spec, cube, fields, seasons)
    blocks = field_blocks((cube.grid.height, cube.grid.width), len(seasons))
    target = VariableFit(cube_path, fields, spec.target, times, seasons)
    domain = partial(_fit_domain, target, spec.domain)
    if sum(executor.map(domain, blocks)) == 0:
        raise _nothing_to_learn(target.variable)
    _log_seasons(spec.split, cube, seasons, len(times))
    finish_fields(fields)
    if spec.split.place is not None:
        fit_spatial_split(spec.split, spec.split.place, cube, fields)
        _fill_outside_training(fields, CLIMATOLOGY, blocks, executor)
    chains = {}
    for variable, transforms in spec.transforms.items():
        times = training_times(spec.split, cube, variable)
        fit = replace(target, variable=variable, times=times)
        harmonics = spec.harmonics if variable == target.variable else None
        chains[variable] = _fit_chain(fit, transforms, harmonics, blocks, executor)
    _detrend_baseline(replace(target, chain=chains[target.variable][:1]), blocks, executor)
    return spec.stack.with_chains(chains)


def training_times(split: Split, cube: Cube, variable: str) -> tuple[np.datetime64, ...]:
    """List the dates of a variable in the training part; of a year's map, once for each step.

    A year without a map has the last one before it.
    """
    frames = split.frames("train", cube.step)
    available = cube.dates[variable]
    if cube.variables[variable].cadence == "annual":
        frames = last_available(available, frames)
    return tuple(frames[np.isin(frames, available)])


def count_seasons(split: Split, step: Step) -> int:
    """Count the seasons that climatologies of the training part will hold."""
    return len(Seasons.of(step, split.frames("train", step)))


def _nothing_to_learn(variable: str) -> ValueError:
    return ValueError(
        f"no pixel of {variable!r} is valid in the training part and inside the domain, so "
        "there is nothing to learn; check domain, split.train and the archive"
    )


def _log_seasons(split: Split, cube: Cube, seasons: Seasons, n_frames: int) -> None:
    """Log which seasons the climatology holds, and how many frames it has no season for."""
    others = [split.frames(part, cube.step) for part in ("validation", "test")]
    later = np.concatenate(others)
    log.info(
        "climatology of %s: %s; %d of %d frames of validation and test are of "
        "a season that it does not hold and take the nearest",
        pluralize(n_frames, "training frame"),
        seasons,
        seasons.n_unseen(later),
        len(later),
    )


def _create_fields(spec: FitSpec, cube: Cube, fields: Path, seasons: Seasons) -> None:
    """Write the template of the fields."""
    units = {CLIMATOLOGY: spec.units[spec.target]}
    for variable, transforms in spec.transforms.items():
        if "anomaly" in transforms:
            units[_field_of(variable)] = spec.units[variable]
    create_fields(
        fields,
        cube.grid,
        seasons=seasons,
        climatologies=units,
        by_place=spec.split.place is not None,
    )


def _field_of(variable: str) -> str:
    return f"{CLIMATOLOGY}_{variable}"


def _fit_domain(target: VariableFit, spec: DomainSpec, window: Window) -> int:
    """Write domain and baseline climatology of one block; count the domain's pixels."""
    climatology = _seasonal_sums(target, window).means(target.seasons)
    domain = np.isfinite(climatology).all(axis=0)
    if spec.variable is not None:
        domain &= Cube.open(target.cube).read(spec.variable, window) > spec.above
    write_field(target.fields, DOMAIN, window, np.asarray(domain, dtype=np.uint8))
    write_field(target.fields, CLIMATOLOGY, window, climatology.astype(np.float32))
    return int(domain.sum())


def _fit_chain(
    fit: VariableFit,
    transforms: Sequence[str],
    harmonics: int | None,
    blocks: list[Window],
    executor: Executor,
) -> tuple[TransformSpec, ...]:
    """Fit the transforms of one variable, each on the output of those before it."""
    so_far = fit
    for kind in transforms:
        description: TransformSpec = {"kind": kind}
        if kind in _PIXEL:
            field = _field_of(fit.variable)
            list(executor.map(partial(_fit_climatology, so_far, field, harmonics), blocks))
            _fill_outside_training(fit.fields, field, blocks, executor)
            description = {"kind": kind, "field": field}
        elif kind == "trend":
            description = fit_trend(so_far, blocks, executor)
        elif kind in _SCALAR:
            description = _fit_scale(so_far, kind, blocks, executor)
        so_far = replace(so_far, chain=(*so_far.chain, description))
    return so_far.chain


def _fit_climatology(
    fit: VariableFit, field: str, harmonics: int | None, window: Window
) -> None:
    """Write the climatology of one block."""
    means = _seasonal_sums(fit, window).means(fit.seasons, harmonics)
    write_field(fit.fields, field, window, means.astype(np.float32))


def _detrend_baseline(target: VariableFit, blocks: list[Window], executor: Executor) -> None:
    """Make the baseline the climatology without the trend, where the target has one."""
    if any(step["kind"] == "trend" for step in target.chain):
        list(executor.map(partial(_fit_climatology, target, CLIMATOLOGY, None), blocks))
        _fill_outside_training(target.fields, CLIMATOLOGY, blocks, executor)


def _fill_outside_training(
    fields: Path, name: str, blocks: list[Window], executor: Executor
) -> None:
    """Set a climatology outside of the training area to each season's mean over that area.

    It is what can honestly be said of a place without data.
    """
    if not has_parts(fields):
        return
    sums = np.zeros(1)
    counts = np.zeros(1)
    for block_sums, block_counts in executor.map(partial(_area_sums, fields, name), blocks):
        sums = sums + block_sums
        counts = counts + block_counts
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).astype(np.float32)
    list(executor.map(partial(_fill_outside, fields, name, means), blocks))


def _area_sums(fields: Path, name: str, window: Window) -> tuple[Float64Array, Float64Array]:
    """Sum a block of a climatology over the training area; count its pixels (season,)."""
    means = read_field_uncached(fields, name, window)
    counted = read_part_area(fields, "train", window) & np.isfinite(means)
    sums = means.sum(axis=(1, 2), where=counted, dtype=np.float64)
    return sums, counted.sum(axis=(1, 2), dtype=np.float64)


def _fill_outside(fields: Path, name: str, means: Float32Array, window: Window) -> None:
    climatology = read_field_uncached(fields, name, window)
    inside = read_part_area(fields, "train", window)
    write_field(fields, name, window, np.where(inside, climatology, means[:, None, None]))


def _seasonal_sums(fit: VariableFit, window: Window) -> SeasonalSums:
    sums = SeasonalSums.zero(len(fit.seasons), window.shape)
    for values, axis in fit.frames(window):
        sums = sums.add(values, axis.seasons)
    return sums


def _fit_scale(
    fit: VariableFit, kind: str, blocks: list[Window], executor: Executor
) -> TransformSpec:
    """Fit offset and scale from merged sums, in a fixed order of blocks."""
    moments = Moments.zero()
    low = np.inf
    high = -np.inf
    for block_moments, block_low, block_high in executor.map(
        partial(_moments_and_range, fit), blocks
    ):
        moments += block_moments
        low = min(low, block_low)
        high = max(high, block_high)
    if not moments.count:
        raise ValueError(
            f"variable {fit.variable!r} has no valid pixel in the training part, so it cannot "
            "be scaled; check split and the archive"
        )
    scales = {
        "zscore": (float(moments.mean), float(moments.std)),
        "minmax": (low, high - low),
    }
    offset, scale = look_up(scales, kind, "transform")
    # A constant channel carries nothing; it becomes zero instead of a division by zero.
    return {"kind": kind, "offset": offset, "scale": scale if scale > 0 else 1.0}


def _moments_and_range(fit: VariableFit, window: Window) -> tuple[Moments, float, float]:
    """Sum the training area of one block: moments, least and largest value."""
    moments = Moments.zero()
    low = np.inf
    high = -np.inf
    area = read_part_area(fit.fields, "train", window)
    for values, _ in fit.frames(window) if area.any() else ():
        valid: BoolArray = np.isfinite(values) & area
        moments += Moments.of(values, valid)
        low = min(low, float(values.min(initial=np.inf, where=valid)))
        high = max(high, float(values.max(initial=-np.inf, where=valid)))
    return moments, low, high
