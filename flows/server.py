"""A Prefect server of one's own: SQLite, one worker, the deployments, only this machine."""

from __future__ import annotations

import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from flows import processes
from flows.launch import handle_interrupts
from flows.local_server import HOST, Echo, LocalServer
from flows.processes import ManagedProcess, ProcessId
from flows.schedule import DeployRequest
from flows.state import ServerState, check_state_path, remove_state
from stores.crash import crash_point
from stores.errors import CorruptError, LeaseHeldError
from stores.formatting import pluralize
from stores.lease import current_holder, lease

log = logging.getLogger(__name__)

_PORT = 4200
_DETACHED_S = 240.0
_DOWN_S = 60.0
_UP = "up"  # leases of a home
_DETACH = "detach"
_INTERRUPT_NOTE = "no server runs; its database and logs are kept"


def up(request: DeployRequest, *, home: Path, port: int | None, echo: Echo) -> None:
    """Start server, worker and deployments; look after them until a signal comes.

    Raises:
        LeaseHeldError: a server of this home is up already.
        RuntimeError: a part did not start, or ended again and again.
    """
    with handle_interrupts(_INTERRUPT_NOTE), _exclusive(home, _UP):
        crash_point("up.alone")
        _stop_leftover_processes(home, echo)
        server = LocalServer(home, _free_port(port))
        try:
            server.start(request, threading.Event(), echo)  # a signal ends it at once
            with _signal_event() as stopped:
                server.supervise(stopped)
        finally:
            with _signal_event():  # impatience must not leave half of it behind
                echo("stopping")
                server.stop()


def up_detached(request: DeployRequest, *, home: Path, port: int | None, echo: Echo) -> None:
    """Start ``cubecast up`` in the background and wait until it is ready.

    Raises:
        LeaseHeldError: a server of this home is up already.
        RuntimeError: it did not become ready.
    """
    logfile = home / "logs" / "up.log"
    listen = [] if port is None else ["--port", str(port)]
    options = ["--home", str(home), *listen, *request.arguments()]
    command = [sys.executable, "-m", "flows.cli", "up", *options]
    child = ManagedProcess("cubecast up", command, {}, logfile, folder=Path.cwd())
    with (
        handle_interrupts(_INTERRUPT_NOTE),
        _exclusive(home, _DETACH),
    ):  # two would write to one log
        with _exclusive(home, _UP):
            check_state_path(home)
        logfile.unlink(missing_ok=True)
        child.start()
        is_ready = _wait_until_ready(child, home)
    if not is_ready:
        raise RuntimeError(f"the server did not start; {logfile} ends:\n{child.log_tail()}")
    echo(logfile.read_text().rstrip())


def _wait_until_ready(child: ManagedProcess, home: Path) -> bool:
    """Wait for a detached server; one that is not waited for to the end is stopped."""
    deadline = time.monotonic() + _DETACHED_S
    ready = False
    try:
        while (
            not ready
            and (process_id := child.process_id) is not None
            and time.monotonic() < deadline
        ):
            time.sleep(0.2)
            state = ServerState.read(home)
            ready = state is not None and state.ready and state.owner.pid == process_id.pid
    finally:
        if not ready:
            child.stop()
    return ready


def down(home: Path) -> bool:
    """Stop what ``up`` started, even after a crash of it; return whether there was anything.

    What is up is read from the kernel and the processes, so that no file can hide it.

    Raises:
        LeaseHeldError: it was started on another machine.
    """
    owner = _find_supervisor(home)
    if owner is not None and (process := owner.find()):
        process.terminate()
        processes.wait_for_exit(owner, _DOWN_S)
        processes.terminate_trees([owner])
    n_left = processes.stop_owned(home)
    remove_state(home)
    return owner is not None or n_left > 0


def _find_supervisor(home: Path) -> ProcessId | None:
    """Find the process that looks after the server, while it lives."""
    holder = current_holder(home, _UP)
    if holder is None:
        return None
    if holder.host != socket.gethostname():
        raise LeaseHeldError(
            f"a server of {home} is up on {holder.host}, so it cannot be stopped from here; "
            "run 'cubecast down' there"
        )
    with suppress(psutil.NoSuchProcess):  # it has just ended
        return ProcessId.from_pid(holder.pid)
    return None


def _stop_leftover_processes(home: Path, echo: Echo) -> None:
    """End what an earlier server left alive, so that nobody else writes to its database."""
    check_state_path(home)
    if n_left := processes.stop_owned(home):
        echo(f"ended {pluralize(n_left, 'process')} that an earlier 'cubecast up' left behind")
    remove_state(home)


def _free_port(port: int | None) -> int:
    """Take the port that was asked for, or the usual one, or any that is free."""
    candidates = [port] if port else [_PORT, 0] if port is None else [0]
    for candidate in candidates:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, candidate))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise LeaseHeldError(
        f"port={port} is taken by another program, so no server can listen there; "
        "leave --port out, and a free one is chosen"
    )


@contextmanager
def _exclusive(home: Path, name: str) -> Iterator[None]:
    """Let nobody else do the same in this home; the kernel takes note of our death."""
    with ExitStack() as held:
        try:
            held.enter_context(lease(home, name, wait_s=0))
        except LeaseHeldError:
            raise LeaseHeldError(
                f"a server of {home} is up already{_address(home)}, so a second one would "
                "share its database; add recipes to it with 'cubecast deploy', or stop it with "
                "'cubecast down'"
            ) from None
        yield


def _address(home: Path) -> str:
    """Describe where a server is, or that it is just starting."""
    with suppress(CorruptError):
        if (state := ServerState.read(home)) is not None and state.is_alive:
            return f" on {state.url}"
    return " or just starting"


@contextmanager
def _signal_event() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C, a closed terminal and a request to end set."""
    stopped = threading.Event()
    handlers: dict[signal.Signals, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        handlers[number] = signal.signal(number, lambda *_: stopped.set())
    try:
        yield stopped
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
