from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from lightning.fabric.loggers.csv_logs import CSVLogger
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)

from flows.check import check
from flows.train import train
from pipeline.recipes import load_recipe
from pipeline.spread import InPlace
from pipeline.training.bundle import train_bundle
from pipeline.training.track import FILE, Tracker, check_track
from stores.bundle import Bundle
from tests.make import make_cube

SCRIPT = """
import sys
from pathlib import Path
from pipeline.recipes import load_recipe
from pipeline.spread import InPlace
from pipeline.training.bundle import train_bundle
folder = Path(sys.argv[1])
recipe = load_recipe(folder / "recipe.yaml")
folders = (folder / "models", folder / "logs")
train_bundle(recipe, folder / "run" / "cube.zarr", folders, spread=InPlace())
"""
ROWS = [{"epoch": 1, "loss": 3.0}, {"epoch": 2, "loss": 2.0}, {"epoch": 3, "loss": 1.0}]


def finish(folder: Path) -> Bundle:
    recipe = load_recipe(folder / "recipe.yaml")
    folders = (folder / "models", folder / "logs")
    return train_bundle(recipe, folder / "run" / "cube.zarr", folders, spread=InPlace())


def kill(folder: Path, place: str) -> None:
    """Train in a process of its own, which dies at ``place``."""
    environment = os.environ | {
        "CUBECAST_CRASH_AT": place,
        "PYTHONPATH": str(Path(__file__).parents[3]),
    }
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    done = subprocess.run(command, env=environment, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    time.sleep(1.1)  # TensorBoard orders files by the second in which they began


def board(folder: Path, name: str) -> list[tuple[int, float]]:
    """Read what TensorBoard shows."""
    events = EventAccumulator(str(folder / "logs" / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def missing() -> str:
    """Name a service that is not installed here."""
    for name in ("wandb", "mlflow"):
        try:
            check_track([name])
        except ValueError:
            return name
    pytest.skip("both services are installed")


def test_curves_are_always_a_table_and_events_of_tensorboard(tmp_path: Path) -> None:
    make_cube(tmp_path)
    bundle = finish(tmp_path)
    curves = pd.read_csv(tmp_path / "logs" / "curves.csv")
    pd.testing.assert_frame_equal(curves, pd.read_csv(bundle.path / "curves.csv"))
    assert [step for step, _ in board(tmp_path, "train_loss")] == [1, 2]
    assert not (tmp_path / "run" / "tracking").exists()


@pytest.mark.parametrize(
    "place", [pytest.param("training.epoch.2", marks=pytest.mark.slow), "training.validated.2"]
)
def test_after_a_kill_no_epoch_is_shown_twice_or_lost(tmp_path: Path, place: str) -> None:
    make_cube(tmp_path, training={"epochs": 4})
    kill(tmp_path, place)
    n_before = len(list((tmp_path / "logs" / "tensorboard").iterdir()))
    bundle = finish(tmp_path)
    assert len(list((tmp_path / "logs" / "tensorboard").iterdir())) > n_before
    curves = pd.read_csv(bundle.path / "curves.csv")
    assert list(curves["epoch"]) == [1, 2, 3, 4]
    steps, losses = zip(*board(tmp_path, "validation_loss"), strict=True)
    assert steps == (1, 2, 3, 4)
    assert losses == pytest.approx(list(curves["validation_loss"]), rel=1e-6)


@pytest.mark.slow
def test_an_epoch_that_was_told_but_not_kept_is_told_anew(tmp_path: Path) -> None:
    make_cube(tmp_path, training={"epochs": 3})
    kill(tmp_path, "training.epoch.1")
    kill(tmp_path, "training.checkpoint")  # its first save is that of the second epoch
    assert len(pd.read_csv(tmp_path / "logs" / "curves.csv")) == 2
    finish(tmp_path)
    assert [step for step, _ in board(tmp_path, "train_loss")] == [1, 2, 3]


def test_a_tracker_tells_each_epoch_once_wherever_it_begins(tmp_path: Path) -> None:
    for place, n_told in enumerate((0, 2, 3)):
        logger = CSVLogger(tmp_path, version=place)
        tracker = Tracker(logger, n_told, end=lambda succeeded: None)
        for n_known in (2, 2, 3):
            tracker.catch_up(ROWS[:n_known])
        logger.save()
        table = Path(logger.log_dir) / "metrics.csv"
        told = list(pd.read_csv(table)["step"]) if table.exists() else []
        assert told == [1, 2, 3][n_told:]


def test_a_service_that_is_not_installed_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    name = missing()
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


def test_mlflow_has_each_epoch_once_after_a_kill(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    make_cube(tmp_path, training={"epochs": 4, "track": ["mlflow"]})
    kill(tmp_path, "training.epoch.2")
    before = (tmp_path / "logs" / FILE).read_text()
    finish(tmp_path)
    assert (tmp_path / "logs" / FILE).read_text() == before
    database = tmp_path / "run" / "tracking" / "mlflow" / "mlflow.db"
    client = mlflow.MlflowClient(f"sqlite:///{database}")
    (experiment,) = client.search_experiments(filter_string="name = 'small-rain'")
    (run,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, "train_loss")
    assert sorted(point.step for point in history) == [1, 2, 3, 4]
    assert run.info.status == "FINISHED"


def test_weights_and_biases_keeps_one_offline_run_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    make_cube(tmp_path, training={"epochs": 4, "track": ["wandb"]})
    kill(tmp_path, "training.epoch.2")
    finish(tmp_path)
    (folder,) = (tmp_path / "run" / "tracking" / "wandb").iterdir()
    assert len(list((folder / "wandb").glob("offline-run-*"))) == 1
