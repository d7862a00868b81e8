"""The loop over epochs: learn, validate, keep the state."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from torch import Tensor
from torch.utils.data import DataLoader

from pipeline.streams.dataset import StreamedBatches
from pipeline.streams.samples import Sample
from pipeline.training.diary import Diary
from pipeline.training.interrupt import Ending, ending_noted
from pipeline.training.learner import Learner
from pipeline.training.state import Checkpoint, random_states, set_random_states
from stores.crash import crash_point
from stores.progress import ProgressCallback

log = logging.getLogger(__name__)

_MINUTE_S = 60.0


@dataclass
class Fit:
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

    learner: Learner
    train: StreamedBatches
    validation: StreamedBatches
    checkpoint: Checkpoint
    every_minutes: float
    diary: Diary
    tell: ProgressCallback | None = None
    _ending: Ending = field(default_factory=Ending, init=False)
    _saved_s: float = field(default_factory=time.monotonic, init=False)

    def run(self) -> None:
        """Learn until the last epoch or until nothing gets better."""
        with ending_noted() as self._ending:
            while not self.learner.is_done:
                self._learn_epoch()
                self._validate()
                self._close_epoch()

    def _learn_epoch(self) -> None:
        learner, every = self.learner, self.learner.plan.accumulate
        n = len(self.train)
        learner.begin_epoch()
        self.diary.begin_epoch()
        asked_s = time.monotonic()
        for index, (tensors, samples) in self._batches(self.train, learner.at.batch):
            self.diary.wait(time.monotonic() - asked_s)
            size = min(every, n - index // every * every)
            closes = (index + 1) % every == 0 or index + 1 == n
            batch = learner.place(tensors, samples)
            self.diary.count(learner.learn(batch, share=1 / size, closes=closes))
            if closes:
                self._after_step()
            if self.tell is not None:
                done = learner.at.epoch + (index + 1) / n
                self.tell(round(done, 2), learner.plan.curriculum.epochs, self.diary.note)
            asked_s = time.monotonic()

    def _after_step(self) -> None:
        """Keep the state when it is time, and end when somebody asked for it."""
        crash_point(f"training.step.{self.learner.at.step}")
        due = time.monotonic() - self._saved_s >= self.every_minutes * _MINUTE_S
        due, asked = self.learner.ranks.any(due, self._ending.asked)
        if due or asked:
            self._save()
            log.info("kept %s in %s", self.learner.at, self.checkpoint.path)
        if asked:
            self._end()

    def _validate(self) -> None:
        before = random_states()
        with self.learner.judged():
            for _, (tensors, samples) in self._batches(self.validation, 0):
                self.learner.look(self.learner.place(tensors, samples))
                if self._ending.asked:
                    break
        (asked,) = self.learner.ranks.any(self._ending.asked)
        crash_point(f"training.validated.{self.learner.at.epoch + 1}")
        if asked:  # the state is that of the last step: validation begins anew
            set_random_states(before)
            self._save()
            self._end()
            self._validate()

    def _close_epoch(self) -> None:
        row, is_best = self.learner.close_epoch()
        self.diary.close_epoch(self.learner, row, is_best)
        self._save()
        self.diary.pass_on(self.learner.curves)
        crash_point(f"training.epoch.{self.learner.at.epoch}")

    def _batches(
        self, stream: StreamedBatches, first: int
    ) -> Iterator[tuple[int, tuple[Sequence[Tensor], list[Sample]]]]:
        """Give the batches of this epoch from ``first`` on, with their places and keys."""
        stream.epoch, stream.first_batch = self.learner.at.epoch, first
        keys = stream.plan()[first:]
        kept = random_states()
        # Workers of the spread read ahead; a second pool of processes would only add copies.
        loader = iter(DataLoader(stream, batch_size=None, num_workers=0))
        if first:  # a loader draws a seed; this one drew it before the state was kept
            set_random_states(kept)
        yield from enumerate(zip(loader, keys, strict=True), start=first)

    def _save(self) -> None:
        state = self.learner.state()
        if self.learner.ranks.is_first:
            self.checkpoint.save(state)
        self._saved_s = time.monotonic()

    def _end(self) -> None:
        log.warning("asked to end: the state is kept; the same training goes on from there")
        self._ending.go_on()
