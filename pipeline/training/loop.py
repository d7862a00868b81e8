"""The loop over epochs: train, validate, save a checkpoint."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from torch import Tensor
from torch.utils.data import DataLoader

from pipeline.streams.dataset import BatchDataset
from pipeline.streams.samples import Sample
from pipeline.training.checkpoint import Checkpoint, get_rng_states, set_rng_states
from pipeline.training.logger import TrainingLogger
from pipeline.training.shutdown import ShutdownSignal, deferring_shutdown
from pipeline.training.trainer import Trainer
from stores.crash import crash_point
from stores.progress import ProgressCallback

log = logging.getLogger(__name__)

_MINUTE_S = 60.0


@dataclass
class TrainingLoop:
    """Train from wherever the state of the trainer is.

    Args:
        trainer: network, optimizer and their state.
        train: batches to learn from, epoch by epoch.
        validation: batches that are only scored.
        checkpoint: where the state is saved.
        checkpoint_minutes: time between two saves inside an epoch.
        logger: writes curves and log lines.
        on_progress: called after every batch.
    """

    trainer: Trainer
    train: BatchDataset
    validation: BatchDataset
    checkpoint: Checkpoint
    checkpoint_minutes: float
    logger: TrainingLogger
    on_progress: ProgressCallback | None = None
    _shutdown: ShutdownSignal = field(default_factory=ShutdownSignal, init=False)
    _saved_s: float = field(default_factory=time.monotonic, init=False)

    def run(self) -> None:
        """Train until the last epoch or until early stopping."""
        with deferring_shutdown() as self._shutdown:
            while not self.trainer.is_done:
                self._train_epoch()
                self._validate()
                self._end_epoch()

    def _train_epoch(self) -> None:
        trainer = self.trainer
        accumulate = trainer.hyperparameters.accumulate
        n = len(self.train)
        trainer.begin_epoch()
        self.logger.begin_epoch()
        waiting_since_s = time.monotonic()
        for index, (tensors, samples) in self._batches(self.train, trainer.progress.batch):
            self.logger.add_waiting_time(time.monotonic() - waiting_since_s)
            n_microbatches = min(accumulate, n - index // accumulate * accumulate)
            is_last = (index + 1) % accumulate == 0 or index + 1 == n
            batch = trainer.to_device(tensors, samples)
            self.logger.count_patches(
                trainer.train_batch(
                    batch, loss_weight=1 / n_microbatches, is_last_microbatch=is_last
                )
            )
            if is_last:
                self._checkpoint_if_due()
            if self.on_progress is not None:
                done = trainer.progress.epoch + (index + 1) / n
                self.on_progress(
                    round(done, 2),
                    trainer.hyperparameters.curriculum.epochs,
                    self.logger.status,
                )
            waiting_since_s = time.monotonic()

    def _checkpoint_if_due(self) -> None:
        """Save a checkpoint when it is time, and end when that was requested."""
        crash_point(f"training.step.{self.trainer.progress.step}")
        elapsed_s = time.monotonic() - self._saved_s
        is_due, is_stop_requested = self.trainer.ranks.any(
            elapsed_s >= self.checkpoint_minutes * _MINUTE_S, self._shutdown.is_requested
        )
        if is_due or is_stop_requested:
            self._save()
            log.info("saved %s in %s", self.trainer.progress, self.checkpoint.path)
        if is_stop_requested:
            self._shut_down()

    def _validate(self) -> None:
        rng_states = get_rng_states()
        with self.trainer.evaluating():
            for _, (tensors, samples) in self._batches(self.validation, 0):
                self.trainer.validate_batch(self.trainer.to_device(tensors, samples))
                if self._shutdown.is_requested:
                    break
        (is_stop_requested,) = self.trainer.ranks.any(self._shutdown.is_requested)
        crash_point(f"training.validated.{self.trainer.progress.epoch + 1}")
        if is_stop_requested:  # the state is that of the last step: validation starts over
            set_rng_states(rng_states)
            self._save()
            self._shut_down()
            self._validate()

    def _end_epoch(self) -> None:
        row, is_best = self.trainer.end_epoch()
        self.logger.log_epoch(self.trainer, row, is_best)
        self._save()
        self.logger.flush_trackers(self.trainer.curves)
        crash_point(f"training.epoch.{self.trainer.progress.epoch}")

    def _batches(
        self, stream: BatchDataset, first: int
    ) -> Iterator[tuple[int, tuple[Sequence[Tensor], list[Sample]]]]:
        """Yield the batches of this epoch from ``first`` on: index, tensors and samples."""
        stream.epoch = self.trainer.progress.epoch
        stream.first_batch = first
        samples = stream.plan_batches()[first:]
        rng_states = get_rng_states()
        # The executor reads ahead; a second pool of processes would only add copies.
        loader = iter(DataLoader(stream, batch_size=None, num_workers=0))
        if first:  # a loader draws a seed; this one drew it before the state was saved
            set_rng_states(rng_states)
        yield from enumerate(zip(loader, samples, strict=True), start=first)

    def _save(self) -> None:
        state = self.trainer.state_dict()
        if self.trainer.ranks.is_first:
            self.checkpoint.save(state)
        self._saved_s = time.monotonic()

    def _shut_down(self) -> None:
        log.warning("stop requested: the state is saved; the same training resumes from there")
        self._shutdown.reraise()
