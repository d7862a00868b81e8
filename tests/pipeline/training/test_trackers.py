from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
from lightning.fabric.loggers.csv_logs import CSVLogger
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)

from flows.check import check
from flows.train import train
from pipeline.executors import SerialExecutor
from pipeline.recipes import load_recipe
from pipeline.specs import build_training_spec
from pipeline.training.bundle import train_bundle
from pipeline.training.spec import TrackSpec
from pipeline.training.trackers import Tracker, open_trackers
from stores.bundle import Bundle
from stores.cube import Cube
from tests.make import make_cube

SCRIPT = """
import sys
from pathlib import Path
from pipeline.recipes import load_recipe
from pipeline.specs import build_training_spec
from pipeline.executors import SerialExecutor
from pipeline.training.bundle import train_bundle
from stores.cube import Cube
folder = Path(sys.argv[1])
recipe = load_recipe(folder / "recipe.yaml")
folders = (folder / "models", folder / "logs")
cube = Cube.open(folder / "run" / "cube.zarr")
train_bundle(build_training_spec(recipe), cube, folders, executor=SerialExecutor())
"""
ROWS = [{"epoch": 1, "loss": 3.0}, {"epoch": 2, "loss": 2.0}, {"epoch": 3, "loss": 1.0}]
TRAINED = [{"epoch": row["epoch"], "train_loss": row["loss"]} for row in ROWS]


def finish(folder: Path) -> Bundle:
    recipe = load_recipe(folder / "recipe.yaml")
    folders = (folder / "models", folder / "logs")
    cube = Cube.open(folder / "run" / "cube.zarr")
    return train_bundle(build_training_spec(recipe), cube, folders, executor=SerialExecutor())


def train_apart(folder: Path, environment: Mapping[str, str]) -> None:
    """Train in a process of its own, which dies at a place if the environment names one."""
    known = {"PYTHONPATH": str(Path(__file__).parents[3]), **environment}
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    done = subprocess.run(command, env=known, check=False, capture_output=True)
    expected = -signal.SIGKILL if "CUBECAST_CRASH_AT" in environment else 0
    assert done.returncode == expected, done.stderr


def kill(folder: Path, place: str) -> None:
    train_apart(folder, {**os.environ, "CUBECAST_CRASH_AT": place})


def wait_for_another_second() -> None:
    """Let TensorBoard order its files, which it does by the second in which they began."""
    time.sleep(1.1)


def board(folder: Path, name: str) -> list[tuple[int, float]]:
    """Read what TensorBoard shows."""
    events = EventAccumulator(str(folder / "logs" / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


class Shown(NamedTuple):
    """What a service shows of the only training that it knows."""

    state: str
    """In MLflow's words."""
    epochs: int
    """Of the hyperparameters."""
    losses: list[tuple[int, float]]
    """Epochs and their loss."""


def mlflow_shows(folder: Path) -> Shown:
    database = folder / "run" / "tracking" / "mlflow" / "mlflow.db"
    client = pytest.importorskip("mlflow").MlflowClient(f"sqlite:///{database}")
    experiment = client.get_experiment_by_name("small-rain")
    (run,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, "train_loss")
    losses = [(point.step, point.value) for point in history]
    return Shown(run.info.status, int(run.data.params["training/epochs"]), losses)


def wandb_shows(folder: Path) -> Shown:
    """Let Weights & Biases read its offline run, up to its end."""
    (run,) = (folder / "run" / "tracking" / "wandb").glob("*/wandb/offline-run-*")
    inspect = ("leet", "inspect", "--json", "--follow", "--idle-timeout", "9s", str(run))
    command = [sys.executable, "-m", "wandb", *inspect]
    done = subprocess.run(command, check=True, capture_output=True)
    records = [json.loads(line) for line in done.stdout.splitlines()]

    def only(kind: str) -> list[dict[str, Any]]:
        return [record[kind] for record in records if record["type"] == kind]

    (facts,), (end,) = only("config"), only("exit")
    rows = [row["item"] for row in only("history")]
    losses = [(row["trainer/global_step"], row["train_loss"]) for row in rows]
    state = "FAILED" if end["exit_code"] else "FINISHED"
    return Shown(state, facts["update"]["training"]["epochs"], losses)


SHOWS = {"mlflow": mlflow_shows, "wandb": wandb_shows}


def services() -> list[str]:
    """List those that are installed here."""
    return [name for name in SHOWS if importlib.util.find_spec(name)]


def test_curves_are_always_a_table_and_events_of_tensorboard(tmp_path: Path) -> None:
    make_cube(tmp_path)
    bundle = finish(tmp_path)
    curves = pd.read_csv(tmp_path / "logs" / "curves.csv")
    pd.testing.assert_frame_equal(curves, pd.read_csv(bundle.path / "curves.csv"))
    assert [step for step, _ in board(tmp_path, "train_loss")] == [1, 2]
    assert not (tmp_path / "run" / "tracking").exists()


@pytest.mark.slow
@pytest.mark.parametrize("place", ["training.epoch.2", "training.validated.2"])
def test_after_a_kill_no_epoch_is_shown_twice_or_lost(tmp_path: Path, place: str) -> None:
    make_cube(tmp_path, training={"epochs": 4, "track": services()})
    kill(tmp_path, place)
    wait_for_another_second()
    n_before = len(list((tmp_path / "logs" / "tensorboard").iterdir()))
    bundle = finish(tmp_path)
    assert len(list((tmp_path / "logs" / "tensorboard").iterdir())) > n_before
    curves = pd.read_csv(bundle.path / "curves.csv")
    assert list(curves["epoch"]) == [1, 2, 3, 4]
    steps, losses = zip(*board(tmp_path, "validation_loss"), strict=True)
    assert steps == (1, 2, 3, 4)
    assert losses == pytest.approx(list(curves["validation_loss"]), rel=1e-6)
    expected = list(zip(curves["epoch"], curves["train_loss"], strict=True))
    for service in services():
        assert SHOWS[service](tmp_path) == ("FINISHED", 4, expected)


@pytest.mark.slow
def test_an_epoch_that_was_told_but_not_kept_is_told_anew(tmp_path: Path) -> None:
    make_cube(tmp_path, training={"epochs": 3})
    kill(tmp_path, "training.epoch.1")
    wait_for_another_second()
    kill(tmp_path, "training.checkpoint")  # its first save is that of the second epoch
    wait_for_another_second()
    assert len(pd.read_csv(tmp_path / "logs" / "curves.csv")) == 2
    finish(tmp_path)
    assert [step for step, _ in board(tmp_path, "train_loss")] == [1, 2, 3]


def test_a_tracker_sends_each_epoch_once_wherever_it_begins(tmp_path: Path) -> None:
    for index, n_logged in enumerate((0, 2, 3)):
        logger = CSVLogger(tmp_path, version=index)
        tracker = Tracker(logger, n_logged, end=lambda succeeded: None)
        for n_known in (2, 2, 3):
            tracker.log_new_epochs(ROWS[:n_known])
        logger.save()
        table = Path(logger.log_dir) / "metrics.csv"
        logged = list(pd.read_csv(table)["step"]) if table.exists() else []
        assert logged == [1, 2, 3][n_logged:]


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_service_that_is_not_installed_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    make_cube(tmp_path, training={"track": [name]})
    recipe = str(tmp_path / "recipe.yaml")
    before = sorted(tmp_path.rglob("*"))
    for refuse in (lambda: train.fn(recipe), lambda: check(recipe, [], None)):
        with pytest.raises(ValueError, match=rf"pip install 'cubecast\[{name}\]'"):
            refuse()
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_tracked_changes_no_fingerprint(tmp_path: Path) -> None:
    make_cube(tmp_path)
    path = tmp_path / "recipe.yaml"
    changes = ["training.track=[wandb, mlflow]", "training.runs=3"]
    plain, changed = load_recipe(path), load_recipe(path, overrides=changes)
    assert changed.training.track == ("wandb", "mlflow")
    assert plain.fingerprint() == changed.fingerprint()


@pytest.mark.slow  # a process of its own; the tests around it prove the rest
def test_the_makers_of_the_services_hear_nothing(tmp_path: Path) -> None:
    make_cube(tmp_path, training={"track": services()})
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        # Nothing says that this is a test: MLflow would be silent by itself.
        known = {name: os.environ[name] for name in ("PATH", "HOME", "OMP_NUM_THREADS")}
        train_apart(tmp_path, known | {"http_proxy": address, "https_proxy": address})
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody is waiting there
            proxy.accept()
    assert sorted(path.name for path in (tmp_path / "run/tracking").iterdir()) == services()


@pytest.mark.slow
@pytest.mark.parametrize("service", ["wandb", "mlflow"])
def test_a_training_that_failed_and_went_on_is_shown_as_finished(
    tmp_path: Path, service: str
) -> None:
    pytest.importorskip(service)
    make_cube(tmp_path, training={"track": [service]})
    path, identity = tmp_path / "recipe.yaml", {"cube": "b1d3"}

    def track_spec(*overrides: str) -> TrackSpec:
        return build_training_spec(load_recipe(path, overrides=overrides)).track

    def fail() -> None:
        with open_trackers(track_spec(), identity, tmp_path / "logs") as (tracker,):
            tracker.log_new_epochs(TRAINED[:1])
            raise InterruptedError("requested to stop")

    with pytest.raises(InterruptedError):
        fail()
    assert SHOWS[service](tmp_path) == ("FAILED", 2, [(1, 3.0)])
    changed = track_spec("training.checkpoint_minutes=7")
    with open_trackers(changed, identity, tmp_path / "logs") as (tracker,):
        tracker.log_new_epochs(TRAINED)
        assert os.environ["WANDB_ERROR_REPORTING"] == "false"
        assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
        if service == "mlflow":
            assert mlflow_shows(tmp_path).state == "RUNNING"
    assert SHOWS[service](tmp_path) == ("FINISHED", 2, [(1, 3.0), (2, 2.0), (3, 1.0)])
