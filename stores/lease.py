"""Leases: who may write now, kept by the kernel and numbered so that a late writer is refused.

A lease is an flock on a file below ``<root>/.leases``. The kernel gives it back when its
holder dies, so it needs no time-out and no clock. A number beside it rises with every holder:
should the lock be lost all the same (somebody deleted the file, a network disk forgot it), the
earlier holder sees a higher token and may no longer publish. It works on local disks and NFS 4.
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from stores.disk_space import reraise_disk_full
from stores.errors import FencedError, LeaseHeldError
from stores.files import read_json, write_json
from stores.names import check_id
from stores.times import utc_now

logger = logging.getLogger(__name__)

_FOLDER = ".leases"
_POLL_S = 0.05
_HELD_FDS: set[int] = set()


@dataclass(frozen=True, slots=True)
class Holder:
    """Who took a lease last."""

    token: int
    pid: int
    host: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write under one name, while the ``lease`` block that gave it runs."""

    name: str
    token: int
    path: Path
    fd: int

    def check(self) -> None:
        """Refuse to go on when this lease is no longer the latest.

        Raises:
            FencedError: the block has ended, or somebody took the lease since.
        """
        latest = _read_holder(self.path)
        is_held = self.fd in _HELD_FDS and _is_same_file(self.fd, self.path)
        if is_held and latest is not None and latest.token == self.token:
            return
        now = f"token {latest.token} ({latest})" if latest else "no token"
        raise FencedError(
            f"lease {self.name!r} was taken with token {self.token}, but {now} is in force, so "
            "another run may already have published; run the same command again"
        )


@contextmanager
def lease(
    root: Path,
    name: str,
    *,
    wait_s: float,
    on_wait: Callable[[Holder | None], None] | None = None,
) -> Iterator[Lease]:
    """Hold the lease ``name`` of a store while the body runs.

    Args:
        root: folder of the store.
        name: what is written under the lease.
        wait_s: how long to wait for another holder [s]; 0 asks once.
        on_wait: called once, with the holder, when there is somebody to wait for.

    Raises:
        LeaseHeldError: the holder did not finish within ``wait_s``.
    """
    path = _lock_path(root, name)
    with reraise_disk_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = _acquire(path, name, wait_s, on_wait)
    _HELD_FDS.add(fd)
    try:
        yield Lease(name, _take_token(path), path, fd)
    finally:
        _HELD_FDS.discard(fd)
        os.close(fd)


def is_free(root: Path, name: str) -> bool:
    """Return whether nobody holds a lease at this moment; nothing is written."""
    try:
        fd = os.open(_lock_path(root, name), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def current_holder(root: Path, name: str) -> Holder | None:
    """Return who holds a lease at this moment; None while it is free.

    Raises:
        LeaseHeldError: somebody holds it who gave no name.
    """
    if is_free(root, name):
        return None
    if (holder := _read_holder(_lock_path(root, name))) is None:
        raise LeaseHeldError(
            f"{_lock_path(root, name)} is locked by a process that gave no name, so it cannot "
            "be ended from here; find it, as with 'fuser', and end it"
        )
    return holder


def _lock_path(root: Path, name: str) -> Path:
    return root / _FOLDER / f"{check_id(name, 'lease')}.lock"


def _acquire(
    path: Path, name: str, wait_s: float, on_wait: Callable[[Holder | None], None] | None
) -> int:
    deadline = time.monotonic() + wait_s
    pause = _POLL_S
    has_waited = False
    while (fd := _try_lock(path)) is None:
        holder = _read_holder(path)
        if on_wait is not None and not has_waited:
            on_wait(holder)
        has_waited = True
        if time.monotonic() >= deadline:
            raise LeaseHeldError(
                f"lease {name!r} is held by {holder or 'a process that gave no name'} and was "
                f"not free within {wait_s:g} s, so nothing was written; wait for that run, or "
                "end that process and run again"
            )
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(2 * pause, 1.0)
    return fd


def _try_lock(path: Path) -> int | None:
    """Lock the file that ``path`` names now; None when somebody else does."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    if _is_same_file(fd, path):
        return fd
    os.close(fd)  # deleted between opening and locking: that lock would guard nothing
    return None


def _is_same_file(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except OSError:
        return False


def _take_token(path: Path) -> int:
    before = _read_holder(path)
    token = before.token + 1 if before else 1
    write_json(
        path.with_suffix(".json"),
        asdict(Holder(token, os.getpid(), socket.gethostname(), utc_now())),
    )
    return token


def _read_holder(path: Path) -> Holder | None:
    try:
        holder = Holder(**read_json(path.with_suffix(".json")))
        if type(holder.token) is not int:
            raise TypeError(f"its token is {holder.token!r:.60}")
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        logger.warning("%s is unreadable (%s), so its tokens start again", path, error)
        return None
    return holder


def _close_after_fork() -> None:
    """Close what a forked child inherited: its copy would keep the lock after we die."""
    for fd in list(_HELD_FDS):
        with suppress(OSError):
            os.close(fd)
    _HELD_FDS.clear()


os.register_at_fork(after_in_child=_close_after_fork)
