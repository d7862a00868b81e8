"""Steps that prove what a flow is about to read."""

from __future__ import annotations

from pathlib import Path

from flows.console import progress_bar
from flows.steps.issue import ForecastJob
from pipeline.recipes import Recipe
from pipeline.rollout.prepare import list_files_read
from pipeline.split import FITTED_PARTS
from stores.cube import Cube
from stores.cube_digests import check_frames
from stores.times import Time, Times


def check_forecast_frames(job: ForecastJob) -> None:
    """Refuse to forecast from frames that are not what was ingested at their dates.

    Raises:
        CorruptError: names the first of them.
    """
    _check(job.cube.path, list_files_read(job.bundle, job.cube, job.request), "this forecast")


def check_all_frames(recipe: Recipe, cube: Cube) -> None:
    """Refuse to score on frames that are not what was ingested.

    Raises:
        CorruptError: names the first of them.
    """
    _check(cube.path, _files(recipe, cube, None), "this flow")


def check_training_frames(recipe: Recipe, cube: Cube) -> None:
    """Refuse to learn from frames that are not what was ingested; later ones are not touched.

    Raises:
        CorruptError: names the first of them.
    """
    split = recipe.split.to_split()
    end = max(split.bounds(part)[1] for part in FITTED_PARTS)
    _check(cube.path, _files(recipe, cube, end), "this training")


def _files(recipe: Recipe, cube: Cube, end: Time | None) -> list[str]:
    """List the files of a recipe's variables, of all frames or of those until ``end``."""
    names = [name for name in recipe.archive.variables if name in cube.variables]
    return [file for name in names for file in cube.frame_files(name, _until(cube, name, end))]


def _until(cube: Cube, name: str, end: Time | None) -> Times | None:
    if end is None or name not in cube.dates:
        return None
    return cube.dates[name][cube.dates[name] <= end]


def _check(cube: Path, names: list[str], why: str) -> None:
    with progress_bar("proving frames of the cube") as on_progress:
        check_frames(cube, names, purpose=why, on_progress=on_progress)
