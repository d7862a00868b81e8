"""Run a flow for the person at a terminal, and end at once when that person asks."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import psutil

from flows.console import console, stderr
from flows.options import drop_undone_changes

if TYPE_CHECKING:
    from prefect import Flow

_REFUSED = 1
_INTERRUPTED = 130
_TERMINATED = 143  # 128 + the number of the signal, as shells say it


class Terminated(KeyboardInterrupt):
    """The process got SIGTERM, or its terminal was closed."""


def launch(flow: Flow[..., Any], *, interrupt_note: str, **parameters: Any) -> None:
    """Run a flow on the Prefect server that is set, or without one as a plain function.

    A temporary server of its own would cost seconds and 200 MB, for pages that nobody opens.

    Args:
        flow: what is run.
        interrupt_note: what of the work stays when it is stopped.
        parameters: of the flow.
    """
    from prefect.settings import PREFECT_API_URL

    with handle_interrupts(interrupt_note):
        if url := PREFECT_API_URL.value():
            _run_on_server(str(url), flow, parameters)
        else:
            flow.fn(**parameters)


def _run_on_server(url: str, flow: Flow[..., Any], parameters: Mapping[str, Any]) -> None:
    """Run a flow on a server; once that is lost, Prefect's good-byes would take minutes."""
    from flows.connection import ServerLostError, check_server, reraise_lost_server
    from flows.error_messages import refuse

    check_server(url)
    try:
        with reraise_lost_server(url):
            flow(**parameters)
    except ServerLostError as error:
        refuse(error)
        _exit_now(_REFUSED)


@contextmanager
def handle_interrupts(kept: str) -> Iterator[None]:
    """End the process and all it started when the body is interrupted; say what is kept."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants it
            signal.signal(number, _terminate)
    try:
        yield
    except KeyboardInterrupt as stop:
        console.show_cursor()  # a progress bar hides it
        stderr.print(f"stopped: {kept}", markup=False, highlight=False, soft_wrap=True)
        again = shlex.join([Path(sys.argv[0]).name, *drop_undone_changes(sys.argv[1:])])
        stderr.print(f"to go on: {again}", markup=False, highlight=False, soft_wrap=True)
        _exit_now(_TERMINATED if isinstance(stop, Terminated) else _INTERRUPTED)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _exit_now(code: int) -> None:
    """End this process and all it started without waiting for any of them.

    What is written is whole at every moment, as the tests with ``kill -9`` prove.
    """
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
