"""Ranks that learn together on real workers give the network of one process."""

import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import torch

from flows.runtime import open_executor
from pipeline.dask_executor import DaskExecutor
from pipeline.executors import SerialExecutor
from pipeline.rank_group import RankContext
from pipeline.recipes import Recipe, load_recipe
from pipeline.specs import build_fit_spec, build_training_spec
from pipeline.streams.dataset import BatchDataset
from pipeline.streams.patch_plan import PatchPlan
from pipeline.streams.samples import Sample
from pipeline.streams.source import Source
from pipeline.streams.statistics import fit_stack
from pipeline.training.checkpoint import STATE_FILE
from pipeline.training.rank_batches import SplitBatches
from pipeline.training.train import TrainingResult, train_model
from pipeline.training.training_plan import plan_training
from stores.progress import ProgressCallback
from tests.make import make_cube

# Shares of unequal size and validity, a last batch of one sample, and every kind of loss.
TRAINING = {
    "epochs": 3,
    "batch": 5,
    "patches_per_epoch": 41,
    "accumulate": 2,
    "lr": 0.01,
    "score": {"kind": "rmse"},
    "loss": [
        {
            "kind": "huber",
            "classes": {"thresholds": [60, 90], "factors": [1, 2, 5]},
            "area": True,
        },
        {"kind": "laplacian", "weight": 0.3},
        {"kind": "ssim", "data_range": 6, "window_px": 5, "weight": 0.1},
        {"kind": "quantile", "quantiles": [0.1, 0.5, 0.9], "area": True},
    ],
}
MODEL = {"norm": "batch", "dropout": 0.0}
COMPUTE = {"workers": 2, "threads": 1, "memory_gb": 1.5, "device": "cpu"}
CHANCE = {"noise": 0.1, "teacher_start": 0.8, "teacher_end": 0.2, "ema": 0.9}
_RTOL, _ATOL = 1e-4, 1e-5  # of float32 in another order; weights move by 0.1
SCRIPT = """
import sys
from pathlib import Path
from flows.runtime import open_executor
from pipeline.recipes import load_recipe
from pipeline.specs import build_training_spec
from pipeline.training.bundle import train_bundle
from stores.cube import Cube
if __name__ == "__main__":  # workers import this file again
    root = Path(sys.argv[1])
    recipe = load_recipe(root / "recipe.yaml", overrides=["compute.ranks=2"])
    folders = (root / "models", root / "logs")
    with open_executor(recipe.compute) as executor:
        cube = Cube.open(root / "run" / "cube.zarr")
        train_bundle(build_training_spec(recipe), cube, folders, executor=executor)
"""


class Stopped(Exception):
    """Stands for whatever ends who started the ranks."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make_cube(folder, training=TRAINING, model=MODEL, compute=COMPUTE)
    return folder


@pytest.fixture(scope="module")
def source(folder: Path) -> Source:
    cube, fields = folder / "run" / "cube.zarr", folder / "fields.zarr"
    return Source(
        cube,
        fields,
        fit_stack(build_fit_spec(recipe_of(folder)), cube, fields, SerialExecutor()),
    )


@pytest.fixture(scope="module")
def workers(folder: Path) -> Iterator[DaskExecutor]:
    with open_executor(recipe_of(folder).compute) as executor:
        assert isinstance(executor, DaskExecutor)
        yield executor


@pytest.fixture(scope="module")
def listening() -> list[str]:
    """List addresses at which two ranks listen while they learn; filled by ``calm``."""
    return []


@pytest.fixture(scope="module")
def calm(
    folder: Path, source: Source, workers: DaskExecutor, listening: list[str]
) -> TrainingResult:
    def look(done: float, total: float, note: str = "") -> None:
        if done > 1 and not listening:
            for pid in workers._client.run(os.getpid).values():
                found = psutil.Process(pid).net_connections("inet")
                listening.extend(c.laddr.ip for c in found if c.status == psutil.CONN_LISTEN)

    return train_model(
        build_training_spec(by_chance(folder)),
        source,
        folder / "calm",
        executor=workers,
        on_progress=look,
    )


def test_ranks_listen_at_the_address_of_the_cluster_and_nowhere_else(
    calm: TrainingResult, listening: list[str]
) -> None:
    assert len(listening) >= 2 * 1 + 3  # Dask's of each worker, gloo's of each, and the store's
    assert set(listening) == {"127.0.0.1"}


def recipe_of(folder: Path, ranks: int = 1, **training: Any) -> Recipe:
    recipe = load_recipe(folder / "recipe.yaml")
    return recipe.replace(
        compute=recipe.compute.replace(ranks=ranks),
        training=recipe.training.replace(**training),
    )


def by_chance(folder: Path) -> Recipe:
    """Give a recipe of two ranks that draw random numbers and keep every step."""
    recipe = recipe_of(folder, 2, **CHANCE, checkpoint_minutes=0)
    return recipe.replace(model=recipe.model.replace(dropout=0.3))


def assert_close(one: TrainingResult, other: TrainingResult) -> None:
    for name, weight in one.weights.items():
        found, wanted = other.weights[name].astype(float), weight.astype(float)
        np.testing.assert_allclose(found, wanted, _RTOL, _ATOL, err_msg=name)
    pd.testing.assert_frame_equal(one.curves, other.curves, rtol=1e-4)
    assert one.best_epoch == other.best_epoch


def assert_equal(one: TrainingResult, other: TrainingResult) -> None:
    for name, weight in one.weights.items():
        np.testing.assert_array_equal(other.weights[name], weight, err_msg=name)
    pd.testing.assert_frame_equal(one.curves, other.curves)


def shares(recipe: Recipe, source: Source) -> list[list[list[Sample]]]:
    """List the batches of one process, then those of each of two ranks."""
    samples = PatchPlan(
        tuple(plan_training(build_training_spec(recipe), source).train), seed=0, per_epoch=41
    )
    given = {"batch": 5, "executor": SerialExecutor()}
    seats = [RankContext(rank, n, "", ("", 0)) for rank, n in ((0, 1), (0, 2), (1, 2))]
    return [
        SplitBatches(None, samples, rank_context=rank_context, **given).plan_batches()
        for rank_context in seats
    ]


def test_the_ranks_take_every_sample_of_a_batch_once(folder: Path, source: Source) -> None:
    whole, first, second = shares(recipe_of(folder), source)
    assert [len(batch) for batch in whole] == [5] * 8 + [1]
    for batch, one, other in zip(whole[:-1], first, second, strict=False):
        assert one + other == batch
        assert len(one) == 2
        assert len(other) == 3
        valid = [sum(source.domain(s.window).sum() for s in part) for part in (one, other)]
        assert valid[0] != valid[1]
    assert second[-1] == whole[-1] == first[-1]  # the first reads it for its shape alone


def test_two_ranks_learn_what_one_learns(
    folder: Path, source: Source, workers: DaskExecutor, tmp_path: Path
) -> None:
    one = train_model(
        build_training_spec(recipe_of(folder)),
        source,
        tmp_path / "one",
        executor=SerialExecutor(),
    )
    assert one.curves["validation_loss"].iloc[-1] < 0.9 * one.curves["validation_loss"][0]
    two = train_model(
        build_training_spec(recipe_of(folder, 2)), source, tmp_path / "two", executor=workers
    )
    assert_close(one, two)


@pytest.mark.slow
def test_two_ranks_of_four_samples_learn_what_one_learns_with_eight(
    folder: Path, source: Source, workers: DaskExecutor, tmp_path: Path
) -> None:
    plain = {"batch": 8, "patches_per_epoch": 40, "accumulate": 1, "loss": {"kind": "mse"}}
    one, two = recipe_of(folder, 1, **plain), recipe_of(folder, 2, **plain)
    alone = train_model(
        build_training_spec(one), source, tmp_path / "one", executor=SerialExecutor()
    )
    assert_close(
        alone, train_model(build_training_spec(two), source, tmp_path / "two", executor=workers)
    )
    halved = recipe_of(folder, 1, **plain | {"batch": 4, "accumulate": 2})
    apart = train_model(
        build_training_spec(halved), source, tmp_path / "halved", executor=SerialExecutor()
    )
    with pytest.raises(AssertionError):  # halves averaged by themselves are another thing
        assert_close(alone, apart)


@pytest.mark.slow
def test_ranks_that_draw_random_numbers_learn_and_repeat(
    folder: Path, source: Source, workers: DaskExecutor, calm: TrainingResult, tmp_path: Path
) -> None:
    assert calm.curves["validation_loss"].iloc[-1] < calm.curves["validation_loss"][0]
    assert_equal(
        calm,
        train_model(build_training_spec(by_chance(folder)), source, tmp_path, executor=workers),
    )


@pytest.mark.slow
def test_ranks_that_read_ahead_learn_what_ranks_learn_that_keep_all_samples(
    folder: Path,
    source: Source,
    workers: DaskExecutor,
    calm: TrainingResult,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "pipeline")
    may_keep = partial(setattr, BatchDataset, "memory_bytes")
    workers._client.run(may_keep, 0)
    try:
        streamed = train_model(
            build_training_spec(by_chance(folder)), source, tmp_path, executor=workers
        )
    finally:
        workers._client.run(may_keep, None)
    assert "so they are read block by block (threads: 1)" in caplog.text
    assert_equal(calm, streamed)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_is_killed_stops_all_and_the_same_command_goes_on(
    folder: Path,
    source: Source,
    workers: DaskExecutor,
    calm: TrainingResult,
    tmp_path: Path,
    rank: int,
) -> None:
    killed_s: list[float] = []

    def kill(done: float, total: float, note: str = "") -> None:
        if done > 1 and not killed_s:
            pids = workers._client.run(os.getpid)
            os.kill(pids[sorted(pids)[rank]], signal.SIGKILL)
            killed_s.append(time.monotonic())

    recipe = by_chance(folder)
    with pytest.raises(ConnectionError, match=r"the worker of rank . .* is gone.*goes on"):
        train_model(
            build_training_spec(recipe), source, tmp_path, executor=workers, on_progress=kill
        )
    assert time.monotonic() - killed_s[0] < 10
    assert (tmp_path / STATE_FILE).exists()
    assert_equal(
        calm, train_model(build_training_spec(recipe), source, tmp_path, executor=workers)
    )


def test_ranks_stop_when_nobody_waits_for_them_and_go_on_later(
    folder: Path, source: Source, workers: DaskExecutor, calm: TrainingResult, tmp_path: Path
) -> None:
    def stop_after(n_told: int) -> ProgressCallback:
        told = count(1)

        def tell(done: float, total: float, note: str = "") -> None:
            if next(told) == n_told:
                raise Stopped

        return tell

    before = workers._client.run(os.getpid)
    for n_told in (1, 5):
        with pytest.raises(Stopped):
            train_model(
                build_training_spec(by_chance(folder)),
                source,
                tmp_path,
                executor=workers,
                on_progress=stop_after(n_told),
            )
    assert workers._client.run(os.getpid) == before  # they stopped by themselves
    assert_equal(
        calm,
        train_model(build_training_spec(by_chance(folder)), source, tmp_path, executor=workers),
    )


def test_a_training_of_one_process_goes_on_in_two_ranks(
    folder: Path,
    source: Source,
    workers: DaskExecutor,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Prefect, once a test before has set its logging up, keeps what we log to itself.
    monkeypatch.setattr(logging.getLogger("pipeline"), "propagate", True)
    caplog.set_level(logging.INFO, "pipeline")

    def stop(done: float, total: float, note: str = "") -> None:
        if done > 1.4:
            raise Stopped

    one = recipe_of(folder, 1, checkpoint_minutes=0)
    two = recipe_of(folder, 2, checkpoint_minutes=0)
    whole = train_model(
        build_training_spec(one), source, tmp_path / "one", executor=SerialExecutor()
    )
    with pytest.raises(Stopped):
        train_model(
            build_training_spec(one),
            source,
            tmp_path / "two",
            executor=SerialExecutor(),
            on_progress=stop,
        )
    assert_close(
        whole, train_model(build_training_spec(two), source, tmp_path / "two", executor=workers)
    )
    assert re.search(r"1 thread, precision .* and goes on on .* 2 ranks", caplog.text)


def test_a_loss_that_is_not_finite_is_told_by_the_rank_that_met_it(
    folder: Path, source: Source, workers: DaskExecutor, tmp_path: Path
) -> None:
    wild = recipe_of(folder, 2, lr=1e30, clip=0.0)
    with pytest.raises(FloatingPointError, match=r"the (loss|gradient) is .* sample"):
        train_model(build_training_spec(wild), source, tmp_path, executor=workers)


@pytest.mark.slow
def test_ranks_that_are_asked_to_end_keep_their_state_first(
    source: Source, workers: DaskExecutor, tmp_path: Path
) -> None:
    made = {"training": TRAINING | CHANCE, "model": MODEL, "compute": COMPUTE}
    make_cube(tmp_path, **made)
    calm = train_model(
        build_training_spec(recipe_of(tmp_path, 2)), source, tmp_path / "calm", executor=workers
    )
    (tmp_path / "script.py").write_text(SCRIPT)
    logs = tmp_path / "logs"
    with (tmp_path / "log").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, str(tmp_path / "script.py"), str(tmp_path)],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            stderr=said,
        )
        while process.poll() is None and not logs.exists():
            time.sleep(0.01)
        process.terminate()
        assert process.wait(timeout=60) == -signal.SIGTERM
    assert "stop requested: the state is saved" in (tmp_path / "log").read_text()
    kept = torch.load(logs / STATE_FILE, weights_only=True)["state"]
    assert 0 < kept["at"]["step"] < 15
    assert len(kept["random_of_others"]) == 1
    again = train_model(
        build_training_spec(recipe_of(tmp_path, 2)), source, logs, executor=workers
    )
    assert_equal(calm, again)
