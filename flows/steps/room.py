"""What trainings and forecasts need on the disk, looked at before they write."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from flows.asked import logs_of, models_of
from pipeline.models import ConvLSTMShape, count_parameters, outline_network
from pipeline.recipes import Recipe
from pipeline.rollout.products import count_products
from pipeline.specs import build_training_spec
from stores.cog import scratch_bytes
from stores.counting import count
from stores.cube import Cube
from stores.forecast_template import ForecastTemplate
from stores.issue import ISSUES
from stores.leftovers import measure
from stores.room import Need
from stores.windows import Window

_FLOAT = 4
_STATE_COPIES = 4  # weights, the best ones, and two moments of the optimizer
_COG = 4 / 3  # a COG holds its overviews too
_REPORT = (200_000, 4_000_000)  # least and most of a page, which holds its pictures [B]
_PACKED = 0.5  # forecasts compress to more than this; where there is none, to nothing
_BLOCK_PX = 2048


def list_needs(recipe: Recipe, shape: tuple[int, int], cube: Cube | None) -> dict[str, Need]:
    """Say what every step behind the ingest needs on a grid of ``shape`` (y, x)."""
    network = build_training_spec(recipe).network
    state, bundle = training_needs(network, models_of(recipe), logs_of(recipe))
    forecast = forecast_need(recipe, shape, cube)
    return {"train, state": state, "train, bundle": bundle, "forecast": forecast}


def training_needs(network: ConvLSTMShape, models: Path, logs: Path) -> tuple[Need, Need]:
    """Say what a training needs: for its state, beside the one before, and its bundle."""
    weights = _FLOAT * count_parameters(outline_network(network))
    state = 2 * _STATE_COPIES * weights - _held(logs)
    return (
        Need("the state of the training", logs, state, partial(int, state)),
        Need("the bundle of the training", models, weights, partial(int, weights)),
    )


def issue_need(template: ForecastTemplate, stage: Path, cube: Cube, recipe: Recipe) -> Need:
    """Say what a forecast that goes on in its stage needs."""
    n_frames, held = template.leads * len(template.variables), _held(stage)
    need = _frames_need(recipe, template.shape, n_frames, stage, cube)
    return replace(
        need, most_bytes=need.most_bytes - held, estimate=lambda: need.estimate() - held
    )


def forecast_need(recipe: Recipe, shape: tuple[int, int], cube: Cube | None) -> Need:
    """Say what a forecast as the recipe states it needs, before there is a model."""
    asked = recipe.rollout
    n_products = count_products(
        asked.members, recipe.training.quantiles, has_interval=asked.interval is not None
    )
    return _frames_need(recipe, shape, asked.leads * n_products, recipe.root / ISSUES, cube)


def _frames_need(
    recipe: Recipe, shape: tuple[int, int], n_frames: int, folder: Path, cube: Cube | None
) -> Need:
    """Say what frames need as Zarr and COG; at least nothing, where no cube is."""
    files = 1 + (_COG if recipe.outputs.cog else 0)
    frames = int(n_frames * shape[0] * shape[1] * _FLOAT * files)
    scratch = scratch_bytes(shape) if recipe.outputs.cog else 0
    at_once = min(n_frames, max(1, recipe.compute.workers))  # COGs that are written
    least_page, most_page = _REPORT if recipe.outputs.report else (0, 0)
    most = frames + int(_COG * at_once * scratch) + most_page

    def estimate() -> int:
        if cube is None:
            return 0
        return int(_PACKED * frames * _valid_share(cube, recipe)) + scratch + least_page

    return Need(f"a forecast of {count(n_frames, 'frame')}", folder, most, estimate)


def _valid_share(cube: Cube, recipe: Recipe) -> float:
    """Tell in which part of the grid the target's last frame has values."""
    name, (rows, cols) = recipe.target.variable, cube.grid.shape
    last = cube.times_of(name)[-1:]
    blocks = Window.whole((rows, cols)).blocks(_BLOCK_PX, _BLOCK_PX)
    valid = sum(np.isfinite(cube.read(name, block, last)).sum() for block in blocks)
    return float(valid) / (rows * cols)


def _held(folder: Path) -> int:
    """Count what a run before has left there: a rerun goes on with it, or removes it."""
    return measure(folder)[0] if folder.exists() else 0
