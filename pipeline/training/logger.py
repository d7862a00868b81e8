"""What a person can follow of a training: log lines, a table, TensorBoard."""

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
_MIN_S = 1e-9  # keeps rates finite before a second has passed
_N_LISTED = 3  # patches that the log lists
_DELIVERY = {
    "device": "gathered on the device that trains",
    "memory": "read from memory",
    "streamed": "streamed",
}


class TrainingLogger:
    """Write curves and log lines of a training.

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
        self._elapsed_s = 0.0
        self._waited_s = 0.0
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
        """Log how patches are delivered and why, and which ones the next epoch takes."""
        log.info("patches are %s: %s", _DELIVERY[stream.mode], stream.reason)
        log.info("%s", stream.patch_plan.describe(self._epoch, n_rows=_N_LISTED))

    def begin_epoch(self) -> None:
        """Start the clock."""
        self._began_s = time.monotonic()
        self._n_patches = 0
        self._waited_s = 0.0

    def count_patches(self, n_patches: int) -> None:
        """Count patches that were learned from."""
        self._n_patches += n_patches
        self._elapsed_s = time.monotonic() - self._began_s

    def add_waiting_time(self, seconds: float) -> None:
        """Count time in which nothing was learned, since no batch was there yet [s]."""
        self._waited_s += seconds

    def log_epoch(self, trainer: Trainer, row: CurveRow, is_best: bool) -> None:
        """Write the row of an epoch to the table, TensorBoard and the log."""
        write_text(self._path, pd.DataFrame(trainer.curves).to_csv(index=False))
        epoch = int(row["epoch"])
        for name, value in row.items():
            if name != "epoch":
                self._board.add_scalar(name, value, epoch)
        self._board.flush()
        score = trainer.scores[-1]
        self.status = f"{score.name.replace('_', ' ')} {score.value:.4g}"
        log.info(
            "epoch %d/%d: %s; %s; %.1f patches/s, %.1f %% of the time waiting for them; %s",
            epoch,
            trainer.hyperparameters.curriculum.epochs,
            ", ".join(
                _format_score(trainer, name, value)
                for name, value in row.items()
                if name != "epoch"
            ),
            "best so far, kept" if is_best else _format_patience(trainer),
            self._n_patches / max(_MIN_S, self._elapsed_s),
            100 * self._waited_s / max(_MIN_S, self._elapsed_s),
            self._format_eta(trainer),
        )

    def flush_trackers(self, curves: Sequence[CurveRow]) -> None:
        """Send new epochs to the trackers; only those whose state is saved, so none twice."""
        for tracker in self._trackers:
            tracker.log_new_epochs(curves)

    def _format_eta(self, trainer: Trainer) -> str:
        """Return how long the training will take at most, as text."""
        n_left = trainer.hyperparameters.curriculum.epochs - trainer.progress.epoch
        seconds = n_left * (time.monotonic() - self._began_s)
        return "done" if trainer.is_done else f"at most {seconds / 60:.1f} min left"


def _format_patience(trainer: Trainer) -> str:
    """Return how much of the patience is used up, as text."""
    stopping = trainer.early_stopping
    best = f"best was epoch {stopping.best_epoch}"
    patience = pluralize(stopping.patience, "epoch")
    if stopping.should_stop:
        return f"{best}, stops: no better in {patience}"
    if not stopping.n_bad_epochs:
        return f"{best}, rollouts grow"
    return f"{best}, no better in {stopping.n_bad_epochs} of {patience}"


def _format_score(trainer: Trainer, name: str, value: float) -> str:
    units = {score.name: score.units for score in trainer.scores}.get(name)
    suffix = units if units and units.strip() != DIMENSIONLESS else ""
    return f"{name} {value:.4g} {suffix}".rstrip()
