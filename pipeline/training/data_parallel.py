"""Start the ranks of a training on workers, and hand on their messages."""

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
"""Called with ``executor``, ``on_progress`` and ``rank_context``; saves a checkpoint."""


def train_data_parallel(
    train: TrainFunction,
    n_ranks: int,
    device: str,
    executor: Executor,
    on_progress: ProgressCallback | None,
) -> None:
    """Train on ``n_ranks`` workers together until all are done.

    Raises:
        ConnectionError: a rank was lost; called again, the others go on from the kept state.
    """
    on_gpu = device != "cpu" and torch.cuda.is_available()
    with deferring_shutdown() as shutdown:
        executor.with_gpu(on_gpu).run_ranks(
            partial(_run_rank, train),
            n_ranks,
            on_message=partial(_on_message, on_progress),
            should_stop=lambda: shutdown.is_requested,
        )


class NullLogger(TrainingLogger):
    """The logger of the other ranks, which writes nothing: the first one writes for all."""

    def __init__(self) -> None:
        self.status = ""

    def __exit__(self, *_: object) -> None:
        """Close nothing."""

    def log_stream(self, stream: BatchDataset) -> None:
        """Log nothing."""

    def flush_trackers(self, curves: Sequence[CurveRow]) -> None:
        """Track nothing."""

    def begin_epoch(self) -> None:
        """Start no clock."""

    def count_patches(self, n_patches: int) -> None:
        """Count nothing."""

    def add_waiting_time(self, seconds: float) -> None:
        """Count no waiting."""

    def log_epoch(self, trainer: Trainer, row: CurveRow, is_best: bool) -> None:
        """Write nothing."""


def _run_rank(train: TrainFunction, rank_context: RankContext, channel: RankChannel) -> None:
    """Train as one of the ranks; runs on a worker, which reads its part of the batches."""

    def send_progress(done: float, total: float, note: str = "") -> None:
        channel.send([done, total, note] if rank_context.rank == 0 else None)

    with (
        _forwarding_logs(rank_context, channel),
        shutdown_requested_by(channel.is_stop_requested),
        process_group_teardown(),
    ):
        train(executor=SerialExecutor(), on_progress=send_progress, rank_context=rank_context)


def _on_message(on_progress: ProgressCallback | None, message: Any) -> None:
    """Take one message of a rank: a line of its log, or its progress."""
    if len(message) == 2:
        log.log(*message)
    elif on_progress is not None:
        on_progress(*message)


class _ForwardingHandler(logging.Handler):
    """Sends log lines to the process that started the ranks."""

    def __init__(self, channel: RankChannel, level: int) -> None:
        super().__init__(level)
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line."""
        self._channel.send([record.levelno, record.getMessage()])


@contextmanager
def _forwarding_logs(rank_context: RankContext, channel: RankChannel) -> Iterator[None]:
    """Send what the first rank logs; the others would log the same."""
    level = logging.INFO if rank_context.rank == 0 else logging.ERROR
    logger = logging.getLogger(_LOGGER)
    handler = _ForwardingHandler(channel, level)
    previous_level = logger.level
    logger.setLevel(logging.INFO)
    logging.getLogger("lightning").setLevel(logging.WARNING)  # it frames every greeting
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(previous_level)
