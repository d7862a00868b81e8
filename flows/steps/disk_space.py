"""What trainings and forecasts need on the disk, looked at before they write."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from flows.paths import models_path, training_path
from pipeline.models import ConvLSTMSpec, build_meta_network, count_parameters
from pipeline.recipes import Recipe
from pipeline.rollout.products import count_products
from pipeline.specs import build_training_spec
from stores.cube import Cube
from stores.disk_space import SpaceRequirement
from stores.forecast_template import ForecastTemplate
from stores.formatting import pluralize
from stores.issue import ISSUES
from stores.retention import tree_usage
from stores.windows import Window

_FLOAT = 4
_STATE_COPIES = 4  # weights, the best ones, and two moments of the optimizer
_COG_FACTOR = 4 / 3  # a COG holds its overviews too
_MIN_COMPRESSION_RATIO = (
    0.5  # forecasts compress to more than this; where there is none, to nothing
)
_BLOCK_PX = 2048


def list_space_requirements(
    recipe: Recipe, shape: tuple[int, int], cube: Cube | None
) -> dict[str, SpaceRequirement]:
    """List what every step behind the ingest needs on a grid of ``shape`` (y, x)."""
    network = build_training_spec(recipe).network
    state, bundle = training_space(network, models_path(recipe), training_path(recipe))
    forecast = forecast_space(recipe, shape, cube)
    return {"train, state": state, "train, bundle": bundle, "forecast": forecast}


def training_space(
    network: ConvLSTMSpec, models: Path, logs: Path
) -> tuple[SpaceRequirement, SpaceRequirement]:
    """Estimate what a training needs: for its state, beside the one before, and its bundle."""
    weights = _FLOAT * count_parameters(build_meta_network(network))
    state = 2 * _STATE_COPIES * weights - _existing_bytes(logs)
    return (
        SpaceRequirement("the state of the training", logs, state, partial(int, state)),
        SpaceRequirement("the bundle of the training", models, weights, partial(int, weights)),
    )


def issue_space(
    template: ForecastTemplate, stage: Path, cube: Cube, recipe: Recipe
) -> SpaceRequirement:
    """Estimate what a forecast that goes on in its stage needs."""
    n_frames = template.leads * len(template.variables)
    held = _existing_bytes(stage)
    need = _frames_need(recipe, template.shape, n_frames, stage, cube)
    return replace(
        need, max_bytes=need.max_bytes - held, estimate=lambda: need.estimate() - held
    )


def forecast_space(
    recipe: Recipe, shape: tuple[int, int], cube: Cube | None
) -> SpaceRequirement:
    """Estimate what a forecast as the recipe states it needs, before there is a model."""
    rollout = recipe.rollout
    n_products = count_products(
        rollout.members, recipe.training.quantiles, has_interval=rollout.interval is not None
    )
    return _frames_need(recipe, shape, rollout.leads * n_products, recipe.root / ISSUES, cube)


def _frames_need(
    recipe: Recipe, shape: tuple[int, int], n_frames: int, folder: Path, cube: Cube | None
) -> SpaceRequirement:
    """Estimate what frames need as Zarr and COG; at least nothing, where no cube is."""
    files = 1 + (_COG_FACTOR if recipe.outputs.cog else 0)
    most = int(n_frames * shape[0] * shape[1] * _FLOAT * files)

    def estimate() -> int:
        return (
            0
            if cube is None
            else int(_MIN_COMPRESSION_RATIO * most * _valid_fraction(cube, recipe))
        )

    return SpaceRequirement(
        f"a forecast of {pluralize(n_frames, 'frame')}", folder, most, estimate
    )


def _valid_fraction(cube: Cube, recipe: Recipe) -> float:
    """Compute in which fraction of the grid the target's last frame has values."""
    name = recipe.target.variable
    rows, cols = cube.grid.shape
    last = cube.step_times(name)[-1:]
    blocks = Window.from_shape((rows, cols)).blocks(_BLOCK_PX, _BLOCK_PX)
    valid = sum(np.isfinite(cube.read(name, block, last)).sum() for block in blocks)
    return float(valid) / (rows * cols)


def _existing_bytes(folder: Path) -> int:
    """Count what a run before has left there: a rerun goes on with it, or removes it."""
    return tree_usage(folder)[0] if folder.exists() else 0
