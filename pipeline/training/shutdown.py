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

_stop_requested_elsewhere: ContextVar[Callable[[], bool] | None] = ContextVar(
    "stop_requested_elsewhere", default=None
)


class ShutdownSignal:
    """Whether a shutdown was requested, by a signal or by the process that started this one.

    Args:
        is_requested_elsewhere: whether the starting process requests it; None: only signals do.
    """

    def __init__(self, is_requested_elsewhere: Callable[[], bool] | None = None) -> None:
        self._is_requested_elsewhere = is_requested_elsewhere
        self._signal_number: int | None = None
        self._previous_handlers: dict[int, Any] = {}

    @property
    def is_requested(self) -> bool:
        """Whether a shutdown was requested."""
        return self._signal_number is not None or (
            self._is_requested_elsewhere is not None and self._is_requested_elsewhere()
        )

    def install_handlers(self) -> None:
        """Record the first SIGTERM, Ctrl-C or closed terminal; a second one ends at once."""
        handled = (n for n in _SIGNALS if signal.getsignal(n) is not signal.SIG_IGN)  # nohup
        for number in handled:
            self._previous_handlers[number] = (
                signal.signal(number, self._on_signal) or signal.SIG_DFL
            )

    def reraise(self) -> None:
        """Raise the signal again for the previous handlers; by default, the process ends.

        Raises:
            RuntimeError: the process that started this one requested the shutdown.
        """
        if self._is_requested_elsewhere is not None:
            raise RuntimeError(
                "a stop was requested, so this training ends; its state is saved"
            )
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        if self._signal_number is not None:
            os.kill(os.getpid(), self._signal_number)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signal_number = number
        signal.signal(number, self._previous_handlers[number])


@contextmanager
def shutdown_requested_by(is_requested_elsewhere: Callable[[], bool]) -> Iterator[None]:
    """Let ``is_requested_elsewhere`` stop what runs in the body, where no signal reaches it."""
    token = _stop_requested_elsewhere.set(is_requested_elsewhere)
    try:
        yield
    finally:
        _stop_requested_elsewhere.reset(token)


@contextmanager
def deferring_shutdown() -> Iterator[ShutdownSignal]:
    """Defer a shutdown to the end of the body; only a main thread receives signals."""
    shutdown = ShutdownSignal(_stop_requested_elsewhere.get())
    if threading.current_thread() is not threading.main_thread():
        yield shutdown
        return
    shutdown.install_handlers()
    try:
        yield shutdown
    finally:
        shutdown.reraise()
