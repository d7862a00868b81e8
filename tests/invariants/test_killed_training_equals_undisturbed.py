"""A training that is killed and started again ends with the bundle of an undisturbed one."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from flows.runtime import open_executor
from pipeline.executors import Executor
from pipeline.recipes import ComputeRecipe, Recipe, load_recipe
from pipeline.specs import build_training_spec
from pipeline.training.bundle import train_bundle
from pipeline.training.checkpoint import STATE_FILE
from stores.bundle import Bundle
from stores.cube import Cube
from stores.progress import ProgressCallback
from tests.make import make_cube

# Everything that keeps a state or draws random numbers, at once.
TRAINING = {
    "epochs": 4,
    "leads": 3,
    "leads_start": 1,
    "patches_per_epoch": 45,
    "accumulate": 2,
    "teacher_start": 0.8,
    "teacher_end": 0.2,
    "teacher_decay": "inverse-sigmoid",
    "noise": 0.1,
    "ema": 0.9,
    "schedule": "plateau",
    "score": {"kind": "rmse", "lead": 2},
    "checkpoint_minutes": 0,
    "loss": [
        {
            "kind": "huber",
            "classes": {"thresholds": [60, 90], "factors": [1, 2, 5]},
            "area": True,
        },
        {"kind": "laplacian", "weight": 0.3},
        {"kind": "crps", "members": 2},
    ],
}
MODEL = {"dropout": 0.3, "norm": "batch"}
TARGET = {"transform": ["log1p", "anomaly", "zscore"]}
N_KILLS = 10
SCRIPT = """
import sys
from pathlib import Path
from flows.runtime import open_executor
from pipeline.recipes import ComputeRecipe, load_recipe
from pipeline.specs import build_training_spec
from pipeline.training.bundle import train_bundle
from stores.cube import Cube
if __name__ == "__main__":  # workers import this file again
    cube, folder, workers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    recipe = load_recipe(cube.parents[1] / "recipe.yaml")
    compute = ComputeRecipe(workers=workers, threads=1, memory_gb=1.5, device="cpu")
    with open_executor(compute) as executor:
        spec, folders = build_training_spec(recipe), (folder / "models", folder / "logs")
        train_bundle(spec, Cube.open(cube), folders, executor=executor)
"""


class Stopped(Exception):
    """Stands for whatever ends a training."""


@pytest.fixture(scope="module")
def cube(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    path = make_cube(folder, training=TRAINING, model=MODEL, target=TARGET)
    (folder / "script.py").write_text(SCRIPT)
    return path


@pytest.fixture(scope="module")
def here() -> Iterator[Executor]:
    with open_executor(ComputeRecipe(workers=0, threads=1, device="cpu")) as executor:
        yield executor


@pytest.fixture(scope="module")
def calm(cube: Path, here: Executor, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return train(cube, tmp_path_factory.mktemp("calm"), here)


def train(
    cube: Path, folder: Path, executor: Executor, on_progress: ProgressCallback | None = None
) -> Bundle:
    folders = (folder / "models", folder / "logs")
    return train_bundle(
        build_training_spec(recipe_of(cube)),
        Cube.open(cube),
        folders,
        executor=executor,
        on_progress=on_progress,
    )


def recipe_of(cube: Path) -> Recipe:
    return load_recipe(cube.parents[1] / "recipe.yaml")


def stop_after(n_batches: int) -> ProgressCallback:
    seen = count(1)

    def tell(done: float, total: float, note: str = "") -> None:
        if next(seen) == n_batches:
            raise Stopped

    return tell


def start(cube: Path, folder: Path, workers: int = 0, **environment: str) -> Any:
    script = cube.parents[1] / "script.py"
    command = [sys.executable, str(script), str(cube), str(folder), str(workers)]
    environment |= {"PYTHONPATH": str(Path(__file__).parents[2])}
    with (folder / "log").open("a") as said:
        return subprocess.Popen(command, stderr=said, env=os.environ | environment)


def epochs_told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """List what the log says of every epoch, but for the time it took."""
    told = [record.getMessage() for record in caplog.records]
    return [
        line.partition(" patches/s")[0].rpartition("; ")[0]
        for line in told
        if " patches/s" in line
    ]


def assert_equal(bundle: Bundle, calm: Bundle) -> None:
    for name in ("curves.csv", "model.safetensors"):
        assert (bundle.path / name).read_bytes() == (calm.path / name).read_bytes()
    assert bundle.digest == calm.digest


def test_the_undisturbed_training_is_no_trivial_one(calm: Bundle) -> None:
    curves = (calm.path / "curves.csv").read_text().splitlines()
    named = "epoch,train_loss,validation_loss,validation_rmse,lr,leads,teacher,ema"
    assert curves[0] == named
    rows = [dict(zip(named.split(","), line.split(","), strict=True)) for line in curves[1:]]
    assert [float(row["leads"]) for row in rows] == [1, 2, 3, 3]
    assert len({row["teacher"] for row in rows}) == 4
    assert all(0 < float(row["ema"]) <= 0.9 for row in rows)
    assert all(weight.any() for weight in calm.load_weights().values())


@pytest.mark.slow
def test_a_training_that_is_stopped_at_many_batches_ends_equal_and_logs_the_same_epochs(
    cube: Path, calm: Bundle, here: Executor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    n_stops = 0
    for n_batches in (1, 2, 5, 12, 7, 13, 4):
        try:
            train(cube, tmp_path, here, stop_after(n_batches))
        except Stopped:
            n_stops += 1
            torch.rand(n_stops)  # what follows must not depend on what this process drew
    assert n_stops == 7
    assert_equal(train(cube, tmp_path, here), calm)
    resumed = re.findall(r"resuming after (.+?), saved", caplog.text)
    kept = re.findall(r"saved (epoch \d+, batch \d+) in", caplog.text)
    within = [place for place in resumed if "batch" in place]
    assert len(within) == 4  # the first stop came before a step, two between two epochs
    assert set(within) <= set(kept)
    assert [place for place in resumed if place not in within] == ["epoch 2", "epoch 3"]
    disturbed = epochs_told(caplog)
    caplog.clear()
    train(cube, tmp_path / "calm", here)
    assert disturbed == epochs_told(caplog)
    assert re.search(r"leads 2, teacher 0\.\d+, ema 0\.\d+; best", caplog.text)


def test_a_training_that_is_killed_in_an_epoch_ends_equal(
    cube: Path, calm: Bundle, here: Executor, tmp_path: Path
) -> None:
    killed = start(cube, tmp_path, CUBECAST_CRASH_AT="training.step.9")
    assert killed.wait(timeout=120) == -signal.SIGKILL
    kept = torch.load(tmp_path / "logs" / STATE_FILE, weights_only=True)["state"]["at"]
    assert (kept["epoch"], kept["batch"], kept["step"]) == (1, 4, 8)
    assert_equal(train(cube, tmp_path, here), calm)
    assert not (tmp_path / "logs" / STATE_FILE).exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "place",
    ["training.checkpoint", "training.validated.2", "training.epoch.3", "bundle.rename"],
)
def test_a_training_that_is_killed_between_two_writes_ends_equal(
    cube: Path, calm: Bundle, here: Executor, tmp_path: Path, place: str
) -> None:
    killed = start(cube, tmp_path, CUBECAST_CRASH_AT=place)
    assert killed.wait(timeout=120) == -signal.SIGKILL
    assert_equal(train(cube, tmp_path, here), calm)
    assert not list((tmp_path / "logs").glob(".*.tmp"))


@pytest.mark.slow
def test_a_training_that_is_asked_to_end_keeps_its_state_first(
    cube: Path, calm: Bundle, here: Executor, tmp_path: Path
) -> None:
    process = start(cube, tmp_path)
    wait_for_steps(process, tmp_path, 3)
    process.terminate()
    assert process.wait(timeout=60) == -signal.SIGTERM
    assert "stop requested: the state is saved" in (tmp_path / "log").read_text()
    assert_equal(train(cube, tmp_path, here), calm)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ten_random_kills_with_changing_workers_end_equal(
    cube: Path, calm: Bundle, here: Executor, tmp_path: Path
) -> None:
    random.seed(0)
    n_killed = 0
    for round_ in range(N_KILLS):
        process = start(cube, tmp_path, workers=(0, 2, 1)[round_ % 3])
        wait_for_steps(process, tmp_path, random.randint(1, 3))
        time.sleep(random.uniform(0, 0.1))
        process.kill()
        n_killed += process.wait(timeout=60) == -signal.SIGKILL
    bundle = train(cube, tmp_path, here)
    assert n_killed >= N_KILLS - 2
    assert_equal(bundle, calm)


def wait_for_steps(process: Any, folder: Path, n_steps: int) -> None:
    """Wait until a started training has kept some further states."""
    path = folder / "logs" / STATE_FILE
    seen: set[int] = set()
    before = path.stat().st_mtime_ns if path.exists() else 0
    while process.poll() is None and len(seen - {before}) < n_steps:
        if path.exists():
            seen.add(path.stat().st_mtime_ns)
        time.sleep(0.001)
