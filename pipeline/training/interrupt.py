"""Let a training save itself before it is ended."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Ending:
    """Tells whether the process was asked to end."""

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = signal.SIG_DFL

    def listen(self) -> None:
        """Note a SIGTERM from now on."""
        self._before = signal.signal(signal.SIGTERM, self._note) or signal.SIG_DFL

    def go_on(self) -> None:
        """Let whoever listened before hear a SIGTERM; by default, the process ends."""
        signal.signal(signal.SIGTERM, self._before)
        if self.asked:
            os.kill(os.getpid(), signal.SIGTERM)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


@contextmanager
def ending_noted() -> Iterator[Ending]:
    """Note a SIGTERM inside the body, and end behind it; only a main thread can listen."""
    ending = Ending()
    if threading.current_thread() is not threading.main_thread():
        yield ending
        return
    ending.listen()
    try:
        yield ending
    finally:
        ending.go_on()
