"""The loop over epochs: learn, validate, keep the state."""

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
    """Train a learner on a stream, from wherever its state is.

    Args:
        learner: what learns.
        train: patches to learn from, epoch by epoch.
        validation: patches that only judge.
        checkpoint: where the state is kept.
        every_minutes: time between two saves inside an epoch.
        diary: where curves and log lines are written.
        tell: told after every batch how far it is.
    """

    learner: Trainer
    train: BatchDataset
    validation: BatchDataset
    checkpoint: Checkpoint
    checkpoint_minutes: float
    logger: TrainingLogger
    on_progress: ProgressCallback | None = None
    _ending: ShutdownSignal = field(default_factory=ShutdownSignal, init=False)
    _saved_s: float = field(default_factory=time.monotonic, init=False)

    def run(self) -> None:
        """Learn until the last epoch or until nothing gets better."""
        with deferring_shutdown() as self._ending:
            while not self.learner.is_done:
                self._train_epoch()
                self._validate()
                self._end_epoch()

    def _train_epoch(self) -> None:
        learner, every = self.learner, self.learner.plan.accumulate
        n = len(self.train)
        learner.begin_epoch()
        self.logger.begin_epoch()
        asked_s = time.monotonic()
        for index, (tensors, samples) in self._batches(self.train, learner.at.batch):
            self.logger.add_waiting_time(time.monotonic() - asked_s)
            size = min(every, n - index // every * every)
            closes = (index + 1) % every == 0 or index + 1 == n
            batch = learner.to_device(tensors, samples)
            self.logger.count_patches(
                learner.train_batch(batch, loss_weight=1 / size, is_last_microbatch=closes)
            )
            if closes:
                self._checkpoint_if_due()
            if self.on_progress is not None:
                done = learner.at.epoch + (index + 1) / n
                self.on_progress(
                    round(done, 2), learner.plan.curriculum.epochs, self.logger.status
                )
            asked_s = time.monotonic()

    def _checkpoint_if_due(self) -> None:
        """Keep the state when it is time, and end when somebody asked for it."""
        crash_point(f"training.step.{self.learner.at.step}")
        due = time.monotonic() - self._saved_s >= self.checkpoint_minutes * _MINUTE_S
        due, asked = self.learner.ranks.any(due, self._ending.is_requested)
        if due or asked:
            self._save()
            log.info("kept %s in %s", self.learner.at, self.checkpoint.path)
        if asked:
            self._shut_down()

    def _validate(self) -> None:
        before = get_rng_states()
        with self.learner.evaluating():
            for _, (tensors, samples) in self._batches(self.validation, 0):
                self.learner.validate_batch(self.learner.to_device(tensors, samples))
                if self._ending.is_requested:
                    break
        (asked,) = self.learner.ranks.any(self._ending.is_requested)
        crash_point(f"training.validated.{self.learner.at.epoch + 1}")
        if asked:  # the state is that of the last step: validation begins anew
            set_rng_states(before)
            self._save()
            self._shut_down()
            self._validate()

    def _end_epoch(self) -> None:
        row, is_best = self.learner.end_epoch()
        self.logger.log_epoch(self.learner, row, is_best)
        self._save()
        self.logger.flush_trackers(self.learner.curves)
        crash_point(f"training.epoch.{self.learner.at.epoch}")

    def _batches(
        self, stream: BatchDataset, first: int
    ) -> Iterator[tuple[int, tuple[Sequence[Tensor], list[Sample]]]]:
        """Give the batches of this epoch from ``first`` on, with their places and keys."""
        stream.epoch, stream.first_batch = self.learner.at.epoch, first
        keys = stream.plan_batches()[first:]
        kept = get_rng_states()
        # Workers of the spread read ahead; a second pool of processes would only add copies.
        loader = iter(DataLoader(stream, batch_size=None, num_workers=0))
        if first:  # a loader draws a seed; this one drew it before the state was kept
            set_rng_states(kept)
        yield from enumerate(zip(loader, keys, strict=True), start=first)

    def _save(self) -> None:
        state = self.learner.state_dict()
        if self.learner.ranks.is_first:
            self.checkpoint.save(state)
        self._saved_s = time.monotonic()

    def _shut_down(self) -> None:
        log.warning("asked to end: the state is kept; the same training goes on from there")
        self._ending.reraise()
