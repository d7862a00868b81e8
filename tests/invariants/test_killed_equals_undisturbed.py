"""kill -9 of workers, at any tile, leaves the bytes of the forecast as they would have been."""

import hashlib
import os
import signal
from pathlib import Path

import psutil
import pytest

from flows.runtime import open_executor
from flows.steps import issue
from flows.steps.issue import ForecastJob
from pipeline.executors import Executor, SerialExecutor
from pipeline.memory import WorkerPool
from pipeline.recipes import ComputeRecipe
from pipeline.rollout.engine import roll_out
from pipeline.rollout.prepare import build_plan, build_request
from pipeline.rollout.rollout_plan import RolloutPlan
from pipeline.specs import build_rollout_spec
from stores.forecast import commit_forecast
from stores.issue import FORECAST
from tests.make_rollout import Made, make_model


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    return make_model(folder, training={"epochs": 2}, rollout={"tile_px": 5})


def plan(made: Made, root: Path) -> ForecastJob:
    recipe, cube, bundle = made
    request = build_request(
        build_rollout_spec(recipe), [bundle], cube, init="2006-06", leads=None
    )
    tiles: RolloutPlan = build_plan(
        build_rollout_spec(recipe), bundle, cube, request.leads, WorkerPool(2, 10**9)
    )
    return ForecastJob(recipe.replace(root=root), cube, (bundle,), request, tiles)


def workers() -> list[int]:
    """List the worker processes that this process has started."""
    started = psutil.Process().children(recursive=True)
    return [child.pid for child in started if "spawn_main" in " ".join(child.cmdline())]


def roll(made: Made, root: Path, executor: Executor, *, kill_after: set[int]) -> dict[str, str]:
    """Forecast, killing a worker after the given numbers of tiles; give every file's digest."""
    job = plan(made, root)
    stage = issue.stage_forecast(job)
    for count, _ in enumerate(
        roll_out(job.request, job.plan, stage, executor=executor), start=1
    ):
        if count in kill_after:
            os.kill(workers()[0], signal.SIGKILL)
    commit_forecast(stage)
    return digests(stage)


def digests(stage: Path) -> dict[str, str]:
    """Give the digest of every file of a staged forecast."""
    files = sorted(path for path in (stage / FORECAST).rglob("*") if path.is_file())
    return {
        str(path.relative_to(stage)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_workers_that_are_killed_while_tiles_roll_change_no_byte(
    made: Made, tmp_path: Path
) -> None:
    calm = roll(made, tmp_path / "calm", SerialExecutor(), kill_after=set())
    assert len(plan(made, tmp_path).plan.tiles) > 20
    compute = ComputeRecipe(workers=2, threads=1, memory_gb=1.5, device="cpu")
    with open_executor(compute) as executor:
        hurt = roll(made, tmp_path / "hurt", executor, kill_after={4, 12})
    assert hurt == calm
