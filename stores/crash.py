"""Points between two writes at which a test may end the process, as a power cut would."""

from __future__ import annotations

import os
import signal

_VARIABLE = "CUBECAST_CRASH_AT"


def crash_point(name: str) -> None:
    """Die here, without cleaning up, when the environment asks for this point by name."""
    if os.environ.get(_VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
