"""What trainings and forecasts need on the disk, looked at before they write."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from pipeline.models import ConvLSTMShape, count_parameters, outline_network
from pipeline.recipes import Recipe
from stores.counting import count
from stores.cube import Cube
from stores.forecast_template import ForecastTemplate
from stores.leftovers import measure
from stores.room import check_room
from stores.windows import Window

_FLOAT = 4
_STATE_COPIES = 4  # weights, the best ones, and two moments of the optimizer
_COG = 4 / 3  # a COG holds its overviews too
_PACKED = 0.5  # forecasts compress to more than this; where there is none, to nothing
_BLOCK_PX = 2048


def check_training_room(shape: ConvLSTMShape, models: Path, logs: Path) -> None:
    """Refuse a training whose state, written beside the one before, has no room.

    Raises:
        FullError: says what it takes, and what the disk has left.
    """
    weights = _FLOAT * count_parameters(outline_network(shape))
    for folder, n_bytes, what in (
        (logs, 2 * _STATE_COPIES * weights - _held(logs), "the state of the training"),
        (models, weights, "the bundle of the training"),
    ):
        check_room(folder, n_bytes, what=what, estimate=partial(int, n_bytes))


def check_issue_room(
    template: ForecastTemplate, stage: Path, cube: Cube, recipe: Recipe
) -> None:
    """Refuse a forecast that has no room.

    Raises:
        FullError: says what it takes, and what the disk has left.
    """
    rows, cols = template.shape
    files = 1 + (_COG if recipe.outputs.cog else 0)
    n_frames = template.leads * len(template.variables)
    most, held = int(n_frames * rows * cols * _FLOAT * files), _held(stage)
    check_room(
        stage,
        most - held,
        what=f"a forecast of {count(n_frames, 'frame')}",
        estimate=lambda: int(_PACKED * most * _valid_share(cube, recipe)) - held,
    )


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
