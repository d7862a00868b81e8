"""Processes that live as long as a server does, and are never left behind."""

from __future__ import annotations

import logging
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

log = logging.getLogger(__name__)

_TERM_S = 20.0
_RESTARTS = 5
_TAIL_LINES = 12
_ROUNDS = 3  # what was just being started is found in the next one
_STARTED_FOR = "CUBECAST_STARTED_FOR"  # handed down to whatever a process starts


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process, told apart from a later one that got the same number."""

    pid: int
    started: float

    @classmethod
    def from_pid(cls, pid: int) -> ProcessId:
        """Mark a process that is alive."""
        return cls(pid, psutil.Process(pid).create_time())

    def find(self) -> psutil.Process | None:
        """Find the process again, while it lives."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < 1.0
            alive = process.status() != psutil.STATUS_ZOMBIE
        except (psutil.Error, OSError):  # gone, or somebody else's
            return None
        return process if same and alive else None


@dataclass
class ManagedProcess:
    """One process with its log; started again when it dies."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    logfile: Path
    folder: Path | None = None
    """Working directory; the log's folder by default."""
    stdin: int = subprocess.DEVNULL
    restarts: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Start the process in a session of its own, out of reach of Ctrl-C."""
        self.logfile.parent.mkdir(parents=True, exist_ok=True)
        with self.logfile.open("ab") as output:
            self._process = subprocess.Popen(
                self.command,
                env=os.environ | self.environment,
                cwd=self.folder or self.logfile.parent,
                stdin=self.stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def process_id(self) -> ProcessId | None:
        """Mark of the process, while it lives."""
        alive = self._process is not None and self._process.poll() is None
        return ProcessId.from_pid(self._process.pid) if alive and self._process else None

    def restart_if_dead(self) -> bool:
        """Start the process again when it has died; return whether it had.

        Raises:
            RuntimeError: it died too often.
        """
        if self.process_id is not None:
            return False
        if self.restarts >= _RESTARTS:
            raise RuntimeError(
                f"{self.name} ended {_RESTARTS + 1} times, so it is not started again; "
                f"its last words in {self.logfile}:\n{self.log_tail()}"
            )
        self.restarts += 1
        log.warning("%s ended; starting it again (%d)", self.name, self.restarts)
        self.start()
        return True

    def stop(self) -> None:
        """End the process and all it started."""
        if process_id := self.process_id:
            terminate_trees([process_id])
        if self._process is not None:
            self._process.wait()

    def log_tail(self) -> str:
        """Return the end of the log."""
        lines = self.logfile.read_text(errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])


def owner_environment(home: Path) -> dict[str, str]:
    """Return the environment by which all that a server starts is found again, orphans too."""
    return {_STARTED_FOR: str(home.resolve())}


def find_owned(home: Path) -> list[ProcessId]:
    """Find what the server of a home has started and still lives, but for this process."""
    wanted = owner_environment(home)[_STARTED_FOR]
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # gone meanwhile, or somebody else's
            if process.environ().get(_STARTED_FOR) == wanted and process.pid != os.getpid():
                found.append(ProcessId(process.pid, process.create_time()))
    return found


def stop_owned(home: Path) -> int:
    """End all that the server of a home has started, but for this process; count it."""
    n_ended = 0
    for _ in range(_ROUNDS):
        if not (remaining := find_owned(home)):
            break
        n_ended += len(remaining)
        terminate_trees(remaining)
    return n_ended


def terminate_trees(process_ids: Sequence[ProcessId]) -> None:
    """End processes and all they started: ask, wait, then kill."""
    found = [process for process_id in process_ids if (process := process_id.find())]
    tree = list(found)
    for process in found:
        try:
            tree += process.children(recursive=True)
        except psutil.Error:
            continue
    for batch in (found, tree):  # parents first: they end their own children in good order
        for process in batch:
            _ignore_gone(process.terminate)
        psutil.wait_procs(batch, timeout=_TERM_S)
    surviving = [process for process in tree if process.is_running()]
    for process in surviving:
        log.warning("process %d did not end at SIGTERM, so it is killed", process.pid)
        _ignore_gone(process.kill)
    psutil.wait_procs(surviving, timeout=_TERM_S)


def wait_for_exit(process_id: ProcessId, timeout_s: float) -> bool:
    """Wait for a process to end; return whether it did."""
    deadline = time.monotonic() + timeout_s
    while process_id.find() is not None and time.monotonic() < deadline:
        time.sleep(0.1)
    return process_id.find() is None


def _ignore_gone(signal: Callable[[], None]) -> None:
    try:
        signal()
    except psutil.NoSuchProcess:
        return
    except psutil.AccessDenied as error:
        log.warning("process %d belongs to somebody else, so it is left alone", error.pid)
