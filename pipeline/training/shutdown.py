"""Let a training save itself before it is ended."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_others: ContextVar[Callable[[], bool] | None] = ContextVar("others", default=None)


class ShutdownSignal:
    """Tells whether the process was asked to end, by a signal or by who started it.

    Args:
        others: tells whether who started this asks it to end; None listens to signals.
    """

    def __init__(self, others: Callable[[], bool] | None = None) -> None:
        self._others = others
        self._noted: int | None = None
        self._before: dict[int, Any] = {}

    @property
    def is_requested(self) -> bool:
        """Tell whether it was."""
        return self._noted is not None or (self._others is not None and self._others())

    def install_handlers(self) -> None:
        """Note the first SIGTERM, Ctrl-C or closed terminal; a second one ends at once."""
        heard = (n for n in _SIGNALS if signal.getsignal(n) is not signal.SIG_IGN)  # nohup
        for number in heard:
            self._before[number] = signal.signal(number, self._note) or signal.SIG_DFL

    def reraise(self) -> None:
        """Let whoever listened before hear the signal; by default, the process ends.

        Raises:
            RuntimeError: who started this asked it to end.
        """
        if self._others is not None:
            raise RuntimeError("this training was asked to end, so it stops; its state is kept")
        for number, before in self._before.items():
            signal.signal(number, before)
        if self._noted is not None:
            os.kill(os.getpid(), self._noted)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._noted = number
        signal.signal(number, self._before[number])


@contextmanager
def shutdown_requested_by(others: Callable[[], bool]) -> Iterator[None]:
    """Let ``others`` ask what runs in the body to end, where no signal reaches it."""
    before = _others.set(others)
    try:
        yield
    finally:
        _others.reset(before)


@contextmanager
def deferring_shutdown() -> Iterator[ShutdownSignal]:
    """Note a request to end in the body, and end behind it; only a main thread listens."""
    ending = ShutdownSignal(_others.get())
    if threading.current_thread() is not threading.main_thread():
        yield ending
        return
    ending.install_handlers()
    try:
        yield ending
    finally:
        ending.reraise()
