"""How long several trainings will take."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

_MINUTE_S = 60.0


class TrainingEta:
    """Log after every training how long the rest will take.

    Args:
        names: names of the trainings that are to be done.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._left = set(names)
        self._n_done = 0
        self._seconds = 0.0

    @property
    def n_left(self) -> int:
        """Trainings that are to be done."""
        return len(self._left)

    def skip(self, names: Iterable[str]) -> None:
        """Do not count trainings that will not be done."""
        self._left.difference_update(names)

    @contextmanager
    def time_training(self, name: str) -> Iterator[None]:
        """Take the time of a training that ends well, unless it was done before."""
        began_s = time.monotonic()
        yield
        if name not in self._left:
            return
        self._left.remove(name)
        self._n_done += 1
        self._seconds += time.monotonic() - began_s
        if self._left:
            each = self._seconds / self._n_done
            log.info(
                "a training takes about %s; %d left, about %s",
                *(_duration(each), self.n_left, _duration(each * self.n_left)),
            )


def _duration(seconds: float) -> str:
    few = 2 * _MINUTE_S
    return f"{seconds:.2g} s" if seconds < few else f"{seconds / _MINUTE_S:.0f} min"
