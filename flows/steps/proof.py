"""Steps that prove what a flow is about to read."""

from __future__ import annotations

from pathlib import Path

from flows.console import progress_bar
from flows.steps.issue import Job
from pipeline.recipes import Recipe
from pipeline.rollout.prepare import list_read
from stores.cube import Cube
from stores.cube_digests import check_frames


def check_history(job: Job) -> None:
    """Refuse to forecast from frames that are not what was ingested at their dates.

    Raises:
        CorruptError: names the first of them.
    """
    _check(job.cube.path, list_read(job.bundle, job.cube, job.request), "this forecast")


def check_series(recipe: Recipe, cube: Cube) -> None:
    """Refuse to learn from, or to score on, frames that are not what was ingested.

    Raises:
        CorruptError: names the first of them.
    """
    names = [name for name in recipe.archive.variables if name in cube.variables]
    _check(cube.path, [file for name in names for file in cube.files_of(name)], "this flow")


def _check(cube: Path, names: list[str], why: str) -> None:
    with progress_bar("proving frames of the cube") as tell:
        check_frames(cube, names, why=why, tell=tell)
