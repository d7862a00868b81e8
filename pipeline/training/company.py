"""Start the ranks of a training on workers, and hear what they say."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from pipeline.spread import InPlace, Spread
from pipeline.streams.dataset import StreamedBatches
from pipeline.together import Line, Seat
from pipeline.training.diary import Diary
from pipeline.training.interrupt import asked_by, ending_noted
from pipeline.training.learner import Learner, Row
from pipeline.training.ranks import leaving_group
from stores.progress import ProgressCallback

log = logging.getLogger(__name__)

_SOURCE = "pipeline"  # whose log lines are sent on
Learn = Callable[..., Any]
"""Called with ``spread``, ``tell`` and ``seat``; leaves what it learned in a state."""


def learn_in_company(
    learn: Learn, ranks: int, device: str, spread: Spread, tell: ProgressCallback | None
) -> None:
    """Let as many workers as there are ranks learn together until they are done.

    Raises:
        ConnectionError: a rank was lost; called again, the others go on from the kept state.
    """
    on_gpu = device != "cpu" and torch.cuda.is_available()
    with ending_noted() as ending:
        spread.with_gpu(on_gpu).together(
            partial(_take_part, learn),
            ranks,
            hear=partial(_hear, tell),
            is_ending=lambda: ending.asked,
        )


class SilentDiary(Diary):
    """The diary of the other ranks: the first one writes for all."""

    def __init__(self) -> None:
        self.note = ""

    def __exit__(self, *_: object) -> None:
        """Leave nothing."""

    def describe_stream(self, stream: StreamedBatches) -> None:
        """Say nothing."""

    def pass_on(self, curves: Sequence[Row]) -> None:
        """Tell nobody."""

    def begin_epoch(self) -> None:
        """Start no clock."""

    def count(self, n_patches: int) -> None:
        """Count nothing."""

    def wait(self, seconds: float) -> None:
        """Count no waiting."""

    def close_epoch(self, learner: Learner, row: Row, is_best: bool) -> None:
        """Write nothing."""


def _take_part(learn: Learn, seat: Seat, line: Line) -> None:
    """Learn as one of the ranks; runs on a worker, whose threads read its share ahead."""

    def tell(done: float, total: float, note: str = "") -> None:
        line.say([done, total, note] if seat.rank == 0 else None)

    with _log_sent(seat, line), asked_by(line.is_asked_to_end), leaving_group():
        learn(spread=InPlace(), tell=tell, seat=seat)


def _hear(tell: ProgressCallback | None, said: Any) -> None:
    """Take one message of a rank: a line of its log, or how far it is."""
    if len(said) == 2:
        log.log(*said)
    elif tell is not None:
        tell(*said)


class _Sender(logging.Handler):
    """Sends log lines to who started the ranks."""

    def __init__(self, line: Line, level: int) -> None:
        super().__init__(level)
        self._line = line

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line."""
        self._line.say([record.levelno, record.getMessage()])


@contextmanager
def _log_sent(seat: Seat, line: Line) -> Iterator[None]:
    """Send what the first rank logs; the others would say the same."""
    level = logging.INFO if seat.rank == 0 else logging.ERROR
    logger, sender = logging.getLogger(_SOURCE), _Sender(line, level)
    before = logger.level
    logger.setLevel(logging.INFO)
    logging.getLogger("lightning").setLevel(logging.WARNING)  # it frames every greeting
    logger.addHandler(sender)
    try:
        yield
    finally:
        logger.removeHandler(sender)
        logger.setLevel(before)
