"""kill -9 of the Dask scheduler stops a rollout clearly, and a rerun gives equal bytes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flows.runtime import open_executor
from flows.steps import issue
from pipeline.executors import SerialExecutor
from pipeline.recipes import ComputeRecipe
from pipeline.rollout.engine import roll_out
from pipeline.rollout.publishing import ledger_of
from stores.forecast import commit_forecast
from stores.issue import FORECAST
from tests.invariants.test_killed_equals_undisturbed import digests, plan
from tests.make_rollout import Made, make_model

_START_S = 60.0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    return make_model(folder, training={"epochs": 1}, rollout={"tile_px": 5, "block_leads": 2})


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[str, int]]:
    """Start a scheduler and a worker of their own; give address and process of the first."""
    file = folder / "scheduler.json"
    file.unlink(missing_ok=True)
    here = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)]
    processes = [_start("dask_scheduler", "--port", "0", *here)]
    try:
        _wait_for(file)
        processes.append(_start("dask_worker", "--nthreads", "1", "--no-nanny", *here))
        yield json.loads(file.read_text())["address"], processes[0].pid
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _start(what: str, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"distributed.cli.{what}", *options]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def _wait_for(file: Path) -> None:
    end = time.monotonic() + _START_S
    while not file.exists():
        assert time.monotonic() < end, "the scheduler did not start"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_scheduler_that_is_killed_costs_no_byte(made: Made, tmp_path: Path) -> None:
    calm = plan(made, tmp_path / "calm")
    stage = issue.stage_forecast(calm)
    assert list(roll_out(calm.request, calm.plan, stage, executor=SerialExecutor()))
    commit_forecast(stage)
    expected = digests(stage)

    hurt = plan(made, tmp_path / "hurt")
    stage = issue.stage_forecast(hurt)
    with cluster(tmp_path) as (address, pid), open_executor(_on(address)) as spread:
        rolling = roll_out(hurt.request, hurt.plan, stage, executor=spread)
        for _ in range(4):
            next(rolling)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ConnectionError, match="run the same command: what is done is kept"):
            list(rolling)
    n_done = len(ledger_of(stage).done_keys())
    assert 0 < n_done < hurt.plan.n_tasks
    with cluster(tmp_path) as (address, _), open_executor(_on(address)) as executor:
        again = list(roll_out(hurt.request, hurt.plan, stage, executor=executor))
    assert again[0].done >= n_done
    commit_forecast(stage)
    assert digests(stage) == expected
    assert len(expected) > len(list((stage / FORECAST).glob("*")))


def _on(address: str) -> ComputeRecipe:
    return ComputeRecipe(scheduler=address, workers=1, threads=1, device="cpu")
