"""A Prefect server of one's own: SQLite, one worker, the deployments, only this machine."""

from __future__ import annotations

import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows import children
from flows.children import Child
from flows.crew import HOST, Crew, Say
from flows.launch import stopped_in_a_sentence
from flows.schedule import Request
from flows.state import State, state_file
from stores.errors import BusyError

log = logging.getLogger(__name__)

_PORT = 4200
_DETACHED_S = 240.0
_KEPT = "no server runs; its database and logs are kept"


def up(request: Request, *, home: Path, port: int | None, say: Say) -> None:
    """Start server, worker and deployments; look after them until a signal comes.

    Raises:
        BusyError: a server of this home is up already.
        RuntimeError: a part did not start, or ended again and again.
    """
    _refuse_second(home)
    down(home)
    with stopped_in_a_sentence(_KEPT):
        crew = Crew(home, _free_port(port))
        try:
            crew.start(request, threading.Event(), say)  # a signal ends it at once
            with _until_signal() as stopped:
                crew.look_after(stopped)
        finally:
            with _until_signal():  # impatience must not leave half of it behind
                say("stopping")
                crew.stop()


def up_detached(request: Request, *, home: Path, port: int | None, say: Say) -> None:
    """Start ``cubecast up`` in the background and wait until it is ready.

    Raises:
        BusyError: a server of this home is up already.
        RuntimeError: it did not become ready.
    """
    _refuse_second(home)
    down(home)
    logfile = home / "logs" / "up.log"
    logfile.unlink(missing_ok=True)
    listen = [] if port is None else ["--port", str(port)]
    options = ["--home", str(home), *listen, *request.arguments()]
    command = [sys.executable, "-m", "flows.cli", "up", *options]
    child = Child("cubecast up", command, {}, logfile, folder=Path.cwd())
    with stopped_in_a_sentence(_KEPT):
        child.start()
        is_ready = _becomes_ready(child, home)
    if not is_ready:
        raise RuntimeError(f"the server did not start; {logfile} ends:\n{child.last_words()}")
    say(logfile.read_text().rstrip())


def _becomes_ready(child: Child, home: Path) -> bool:
    """Wait for a detached server; one that is not waited for to the end is stopped."""
    deadline = time.monotonic() + _DETACHED_S
    ready = False
    try:
        while not ready and child.mark is not None and time.monotonic() < deadline:
            time.sleep(0.2)
            state = State.read(home)
            ready = state is not None and state.ready
    finally:
        if not ready:
            child.stop()
    return ready


def down(home: Path) -> bool:
    """Stop what ``up`` started, even after a crash of it; tell whether there was anything."""
    state = State.read(home)
    if state is None:
        return False
    if owner := state.owner.find():
        owner.terminate()
        children.wait_until_gone(state.owner, 60)
    children.stop([state.owner, *state.members])
    state_file(home).unlink(missing_ok=True)
    return True


def _free_port(port: int | None) -> int:
    """Take the port that was asked for, or the usual one, or any that is free."""
    wishes = [port] if port else [_PORT, 0] if port is None else [0]
    for wish in wishes:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, wish))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise BusyError(
        f"port={port} is taken by another program, so no server can listen there; "
        "leave --port out, and a free one is chosen"
    )


def _refuse_second(home: Path) -> None:
    state = State.read(home)
    if state is not None and state.is_alive:
        raise BusyError(
            f"a server of {home} is up already on {state.url}, so a second one would share its "
            "database; add recipes to it with 'cubecast deploy', or stop it with "
            "'cubecast down'"
        )


@contextmanager
def _until_signal() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C, a closed terminal and a request to end set."""
    stopped = threading.Event()
    handlers: dict[signal.Signals, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        handlers[number] = signal.signal(number, lambda *_: stopped.set())
    try:
        yield stopped
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
