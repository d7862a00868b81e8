"""Pass curves on to services that collect them: Weights & Biases, MLflow.

Both work offline: curves lie below the root, until somebody sends them, and neither sends
telemetry to its makers, unless the environment says so. A service gets epochs whose state is
saved, and each of them once: a training that was killed adds the epochs that the service does
not have.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.training.spec import TrackSpec
from stores.files import read_json, write_json

if TYPE_CHECKING:
    from lightning.fabric.loggers.logger import Logger

TRACKING_FILE = "tracking.json"
"""Names of a training's runs at the services; beside its state, so it ends with it."""
FOLDER = "tracking"

_OFFLINE = ("offline", "dryrun")
# Else an offline run of Weights & Biases looks up its makers, and MLflow asks what to report.
_TELEMETRY_OFF = {"WANDB_ERROR_REPORTING": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
# The next root would be written into this one's database, and a run of a child that was killed
# would stay open in the service process of its parent.
_LEAKED_VARIABLES = ("MLFLOW_TRACKING_URI", "WANDB_SERVICE")

CurveRows = Sequence[Mapping[str, float]]


def check_trackers(services: Sequence[str]) -> None:
    """Refuse services whose package is missing, before anything is trained.

    Raises:
        ValueError: names the package and how to install it.
    """
    missing = [name for name in services if not _is_installed(name)]
    if missing:
        raise ValueError(
            f"training.track names {', '.join(missing)}, which is not installed, so its curves "
            f"would be lost; run: pip install 'cubecast[{','.join(missing)}]', or leave it out "
            "of training.track (curves.csv and TensorBoard are always written)"
        )


def _is_installed(package: str) -> bool:
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None  # a folder of that name has none


@dataclass
class Tracker:
    """One service, which gets every epoch once.

    Args:
        logger: sends a row to the service.
        n_logged: epochs that the service has already.
        end: closes the run there; called with whether the training succeeded.
    """

    logger: Logger
    n_logged: int
    end: Callable[[bool], None]

    def log_new_epochs(self, curves: CurveRows) -> None:
        """Send the epochs that the service does not have yet."""
        for row in curves[self.n_logged :]:
            scores = {name: value for name, value in row.items() if name != "epoch"}
            self.logger.log_metrics(scores, step=int(row["epoch"]))
        self.n_logged = max(self.n_logged, len(curves))


@dataclass(frozen=True)
class TrackedRun:
    """One training, as services show it."""

    spec: TrackSpec
    facts: Mapping[str, Any]
    """What is shown beside the curves."""
    folder: Path
    """Where the training keeps its state; its name is that of the run."""

    @property
    def offline_folder(self) -> Path:
        """Where services keep what is not sent to a server."""
        return self.spec.root / FOLDER

    def id_of(self, service: str) -> str | None:
        """Return the run's name at a service, where it has one."""
        return self._ids().get(service)

    def save_id(self, service: str, name: str) -> None:
        """Save the run's name at a service, for a training that resumes."""
        write_json(self.folder / TRACKING_FILE, self._ids() | {service: name})

    def _ids(self) -> dict[str, str]:
        path = self.folder / TRACKING_FILE
        return dict(read_json(path)) if path.exists() else {}


@contextmanager
def open_trackers(
    spec: TrackSpec, identity: Mapping[str, str], folder: Path
) -> Iterator[list[Tracker]]:
    """Open the services of a training, and close them after the body."""
    run = TrackedRun(spec, {**identity, **spec.facts}, folder)
    with ExitStack() as stack:
        yield [stack.enter_context(_open(run, name)) for name in spec.services]


@contextmanager
def _open(run: TrackedRun, service: str) -> Iterator[Tracker]:
    for variable, value in _TELEMETRY_OFF.items():
        os.environ.setdefault(variable, value)
    with _restoring_environment():
        tracker = {"wandb": _open_wandb, "mlflow": _open_mlflow}[service](run)
    try:
        yield tracker
    except BaseException:
        tracker.end(False)
        raise
    tracker.end(True)


@contextmanager
def _restoring_environment() -> Iterator[None]:
    """Remove from the environment what packages write into it for later processes."""
    unset = [name for name in _LEAKED_VARIABLES if name not in os.environ]
    try:
        yield
    finally:
        for name in unset:
            os.environ.pop(name, None)


def _open_wandb(run: TrackedRun) -> Tracker:
    """Open a run of Weights & Biases; offline, unless WANDB_MODE says otherwise.

    An offline run cannot be resumed: sent to the service, its second part would replace the
    first. So it is written anew, with all epochs so far. On the service, a resumed run counts
    its rows, and there is one an epoch.
    """
    from lightning.pytorch.loggers import WandbLogger

    mode = os.environ.get("WANDB_MODE", "offline")
    name = run.id_of("wandb") or uuid.uuid4().hex
    run.save_id("wandb", name)
    folder = run.offline_folder / "wandb" / name
    if mode in _OFFLINE:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    logger = WandbLogger(
        name=run.folder.name,
        id=name,
        save_dir=folder,
        project=os.environ.get("WANDB_PROJECT", "cubecast"),
        group=run.spec.name,
        mode=mode,
    )
    logger.log_hyperparams(dict(run.facts))
    # A logger does not end its run, and the next one in this process would write into it.
    return Tracker(
        logger,
        n_logged=int(logger.experiment.step) if mode == "online" else 0,
        end=lambda succeeded: logger.experiment.finish(exit_code=0 if succeeded else 1),
    )


def _open_mlflow(run: TrackedRun) -> Tracker:
    """Open a run of MLflow, in a database below the root unless MLFLOW_TRACKING_URI is set.

    MLflow 3.13 refuses plain folders; a database also takes all scores of an epoch at once.
    """
    from lightning.pytorch.loggers import MLFlowLogger

    server = os.environ.get("MLFLOW_TRACKING_URI")
    folder = (run.offline_folder / "mlflow").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    logger = MLFlowLogger(
        experiment_name=os.environ.get("MLFLOW_EXPERIMENT_NAME", run.spec.name),
        run_name=run.folder.name,
        tracking_uri=server or f"sqlite:///{folder / 'mlflow.db'}",
        artifact_location=None if server else (folder / "artifacts").as_uri(),
        run_id=run.id_of("mlflow"),
        synchronous=True,
    )
    client = logger.experiment
    name = logger.run_id
    assert name is not None  # reading it creates the run
    if run.id_of("mlflow") is None:
        logger.log_hyperparams(dict(run.facts))  # once: a second value of a fact is refused
        run.save_id("mlflow", name)
    client.update_run(name, status="RUNNING")  # one that resumes had failed before
    history = client.get_metric_history(name, "train_loss")
    return Tracker(
        logger,
        n_logged=max((point.step for point in history), default=0),
        end=lambda succeeded: logger.finalize("success" if succeeded else "failed"),
    )
