"""What a person can follow while a network learns: log lines, a table, TensorBoard."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pandas as pd
from torch.utils.tensorboard import SummaryWriter

from pipeline.streams.dataset import BatchDataset
from pipeline.training.trackers import Tracker
from pipeline.training.trainer import CurveRow, Trainer
from stores.cube_inputs import DIMENSIONLESS
from stores.files import write_text
from stores.formatting import pluralize

log = logging.getLogger(__name__)

CURVES = "curves.csv"
_UNKNOWN_S = 1e-9
_N_TOLD = 3  # patches that the log names
_DELIVERY = {
    "device": "cut on the device that learns",
    "memory": "cut from memory",
    "streamed": "streamed",
}


class TrainingLogger:
    """Write down how a training goes.

    Args:
        folder: gets ``curves.csv`` and ``tensorboard/``.
        epoch: epochs that were finished before; what a killed run wrote later is replaced.
        trackers: services that collect curves.
    """

    def __init__(self, folder: Path, epoch: int, trackers: Sequence[Tracker] = ()) -> None:
        self._trackers = trackers
        self._epoch = epoch
        self._path = folder / CURVES
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=epoch + 1)
        self._began_s = time.monotonic()
        self._n_patches = 0
        self._learned_s = self._waited_s = 0.0
        self.status = ""
        """Newest score, for progress bars."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._board.close()

    def log_stream(self, stream: BatchDataset) -> None:
        """Say how patches come and why, and which ones the next epoch takes."""
        log.info("patches are %s: %s", _DELIVERY[stream.mode], stream.reason)
        log.info("%s", stream.patch_plan.describe(self._epoch, n_rows=_N_TOLD))

    def begin_epoch(self) -> None:
        """Start the clock."""
        self._began_s, self._n_patches, self._waited_s = time.monotonic(), 0, 0.0

    def count_patches(self, n_patches: int) -> None:
        """Count patches that were learned from."""
        self._n_patches += n_patches
        self._learned_s = time.monotonic() - self._began_s

    def add_waiting_time(self, seconds: float) -> None:
        """Count time in which nothing was learned, since no batch was there yet [s]."""
        self._waited_s += seconds

    def log_epoch(self, learner: Trainer, row: CurveRow, is_best: bool) -> None:
        """Write the epoch down."""
        write_text(self._path, pd.DataFrame(learner.curves).to_csv(index=False))
        epoch = int(row["epoch"])
        for name, value in row.items():
            if name != "epoch":
                self._board.add_scalar(name, value, epoch)
        self._board.flush()
        score = learner.scores[-1]
        self.status = f"{score.name.replace('_', ' ')} {score.value:.4g}"
        log.info(
            "epoch %d/%d: %s; %s; %.1f patches/s, %.1f %% of the time waiting for them; %s",
            epoch,
            learner.plan.curriculum.epochs,
            ", ".join(
                _format_score(learner, name, value)
                for name, value in row.items()
                if name != "epoch"
            ),
            "best so far, kept" if is_best else _format_patience(learner),
            self._n_patches / max(_UNKNOWN_S, self._learned_s),
            100 * self._waited_s / max(_UNKNOWN_S, self._learned_s),
            self._outlook(learner),
        )

    def flush_trackers(self, curves: Sequence[CurveRow]) -> None:
        """Tell the services; only of epochs whose state is kept, so that none comes twice."""
        for tracker in self._trackers:
            tracker.log_new_epochs(curves)

    def _outlook(self, learner: Trainer) -> str:
        """Say how long it will take at most."""
        left = learner.plan.curriculum.epochs - learner.at.epoch
        seconds = left * (time.monotonic() - self._began_s)
        return "done" if learner.is_done else f"at most {seconds / 60:.1f} min left"


def _format_patience(learner: Trainer) -> str:
    """Say how much of the patience is used up."""
    judge, said = learner.early_stopping, f"best was epoch {learner.early_stopping.best_epoch}"
    if judge.should_stop:
        return f"{said}, stops: no better in {pluralize(judge.patience, 'epoch')}"
    if not judge.n_worse:
        return f"{said}, rollouts grow"
    return f"{said}, no better in {judge.n_worse} of {pluralize(judge.patience, 'epoch')}"


def _format_score(learner: Trainer, name: str, value: float) -> str:
    units = {score.name: score.units for score in learner.scores}.get(name)
    shown = units if units and units.strip() != DIMENSIONLESS else ""
    return f"{name} {value:.4g} {shown}".rstrip()
