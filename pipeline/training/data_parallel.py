"""Start the ranks of a training on workers, and hear what they say."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from pipeline.executors import Executor, SerialExecutor
from pipeline.rank_group import RankChannel, RankContext
from pipeline.streams.dataset import BatchDataset
from pipeline.training.collectives import process_group_teardown
from pipeline.training.logger import TrainingLogger
from pipeline.training.shutdown import deferring_shutdown, shutdown_requested_by
from pipeline.training.trainer import CurveRow, Trainer
from stores.progress import ProgressCallback

log = logging.getLogger(__name__)

_LOGGER = "pipeline"  # whose log lines are sent on
TrainFunction = Callable[..., Any]
"""Called with ``executor``, ``tell`` and ``seat``; leaves what it learned in a state."""


def train_data_parallel(
    learn: TrainFunction,
    ranks: int,
    device: str,
    executor: Executor,
    on_progress: ProgressCallback | None,
) -> None:
    """Let as many workers as there are ranks learn together until they are done.

    Raises:
        ConnectionError: a rank was lost; called again, the others go on from the kept state.
    """
    on_gpu = device != "cpu" and torch.cuda.is_available()
    with deferring_shutdown() as ending:
        executor.with_gpu(on_gpu).run_ranks(
            partial(_run_rank, learn),
            ranks,
            on_message=partial(_on_message, on_progress),
            should_stop=lambda: ending.is_requested,
        )


class NullLogger(TrainingLogger):
    """The diary of the other ranks: the first one writes for all."""

    def __init__(self) -> None:
        self.status = ""

    def __exit__(self, *_: object) -> None:
        """Leave nothing."""

    def log_stream(self, stream: BatchDataset) -> None:
        """Say nothing."""

    def flush_trackers(self, curves: Sequence[CurveRow]) -> None:
        """Tell nobody."""

    def begin_epoch(self) -> None:
        """Start no clock."""

    def count_patches(self, n_patches: int) -> None:
        """Count nothing."""

    def add_waiting_time(self, seconds: float) -> None:
        """Count no waiting."""

    def log_epoch(self, learner: Trainer, row: CurveRow, is_best: bool) -> None:
        """Write nothing."""


def _run_rank(learn: TrainFunction, rank_context: RankContext, line: RankChannel) -> None:
    """Learn as one of the ranks; runs on a worker, whose threads read its share ahead."""

    def tell(done: float, total: float, note: str = "") -> None:
        line.send([done, total, note] if rank_context.rank == 0 else None)

    with (
        _forwarding_logs(rank_context, line),
        shutdown_requested_by(line.is_stop_requested),
        process_group_teardown(),
    ):
        learn(executor=SerialExecutor(), on_progress=tell, rank_context=rank_context)


def _on_message(on_progress: ProgressCallback | None, said: Any) -> None:
    """Take one message of a rank: a line of its log, or how far it is."""
    if len(said) == 2:
        log.log(*said)
    elif on_progress is not None:
        on_progress(*said)


class _ForwardingHandler(logging.Handler):
    """Sends log lines to who started the ranks."""

    def __init__(self, line: RankChannel, level: int) -> None:
        super().__init__(level)
        self._line = line

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line."""
        self._line.send([record.levelno, record.getMessage()])


@contextmanager
def _forwarding_logs(rank_context: RankContext, line: RankChannel) -> Iterator[None]:
    """Send what the first rank logs; the others would say the same."""
    level = logging.INFO if rank_context.rank == 0 else logging.ERROR
    logger, sender = logging.getLogger(_LOGGER), _ForwardingHandler(line, level)
    before = logger.level
    logger.setLevel(logging.INFO)
    logging.getLogger("lightning").setLevel(logging.WARNING)  # it frames every greeting
    logger.addHandler(sender)
    try:
        yield
    finally:
        logger.removeHandler(sender)
        logger.setLevel(before)
