"""One place for errors: what a person reads when a command cannot go on.

What we foresee says what is wrong, so what, and the way out; it is raised by us, by the system
or by full memory. Everything else is a bug of ours: its traceback goes into a file.
"""

from __future__ import annotations

import dis
import errno
import os
import platform
import shlex
import sys
import tempfile
import traceback
from importlib.metadata import version
from pathlib import Path
from types import TracebackType

from flows.console import stderr

_PACKAGES = {"stores", "pipeline", "flows", "deploy"}
_RAISE = dis.opmap["RAISE_VARARGS"]
_HINTS = {
    errno.ENOSPC: "free some space, or choose another root with --root",
    errno.EDQUOT: "free some space, or choose another root with --root",
    errno.EACCES: "change its permissions, or name another one",
    errno.EPERM: "change its permissions, or name another one",
    errno.EROFS: "name a place that can be written",
    errno.ENOENT: "name one that exists",
    errno.EMFILE: "close programs, or raise the limit: ulimit -n 4096",
    errno.ENAMETOOLONG: "choose a shorter name",
}
_HTTP_PACKAGES = ("httpx", "httpcore")


def refuse(error: BaseException) -> None:
    """Print what ended a command, for the person at the terminal."""
    stderr.print(
        describe_error(error), style="red", markup=False, highlight=False, soft_wrap=True
    )


def describe_error(error: BaseException) -> str:
    """Describe what ended a command, for a person; for a bug also where its traceback is."""
    if is_user_error(error):
        return f"refused: {error.args[0] if isinstance(error, KeyError) else error}"
    if isinstance(error, MemoryError):
        return (
            f"memory is full ({str(error) or 'nothing was left'}), so the command stopped; "
            "close programs, or let it take less: compute.memory_gb, rollout.tile_px, "
            "training.batch"
        )
    if isinstance(error, OSError):
        return _explain_system(error)
    if type(error).__module__.partition(".")[0] in _HTTP_PACKAGES or "reach API" in str(error):
        return (
            f"the Prefect server of PREFECT_API_URL={os.environ.get('PREFECT_API_URL', '')!r} "
            f"does not answer ({error}), so the run could not be told to it; start it, or "
            "unset PREFECT_API_URL to run without one"
        )
    return _explain_bug(error)


def is_user_error(error: BaseException) -> bool:
    """Check whether one of our own ``raise`` made an error, which then is a sentence."""
    if isinstance(error, AssertionError | NotImplementedError):
        return False
    frame = _innermost(error.__traceback__)
    if frame is None:
        return False
    package = str(frame.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
    return package in _PACKAGES and frame.tb_frame.f_code.co_code[frame.tb_lasti] == _RAISE


def _innermost(traceback: TracebackType | None) -> TracebackType | None:
    frame = traceback
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame


def _explain_system(error: OSError) -> str:
    """Describe what the system refused, and what may help."""
    what = f"{error.filename!r} cannot be used" if error.filename else "the system refused"
    why = error.strerror or str(error) or type(error).__name__
    way_out = _HINTS.get(error.errno or 0, "look at it, then run the same command again")
    return f"{what}: {why}, so the command stopped; {way_out}"


def _explain_bug(error: BaseException) -> str:
    message = f"{type(error).__name__}: {error}".strip().partition("\n")[0][:300]
    return (
        f"this is a bug of cubecast ({message}), so the command stopped; what was finished "
        f"stays. Please report it with {_write_report(error)}, or see the traceback here: "
        "--debug"
    )


def _write_report(error: BaseException) -> str:
    """Write the traceback and what it takes to see it again; name the file."""
    lines = [
        f"cubecast {version('cubecast')}, Python {platform.python_version()}, "
        f"{platform.platform()}\n",
        f"command: {shlex.join(sys.argv)}\n\n",
        *traceback.format_exception(error),
    ]
    try:
        handle, name = tempfile.mkstemp(prefix="cubecast-bug-", suffix=".txt")
        os.close(handle)
        Path(name).write_text("".join(lines), encoding="utf-8", errors="backslashreplace")
    except OSError as full:
        return f"its traceback, which could not be written ({full})"
    return name
