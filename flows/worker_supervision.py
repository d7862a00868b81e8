"""Supervise workers while nothing finishes: bring back the dead, and never wait for ever."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from distributed import Client, LocalCluster

from flows.workers import find_stalled

log = logging.getLogger(__name__)

_GRACE_S = 10.0  # a nanny restarts a worker in 1 to 3 s
LOCAL_STALL_S = 10.0
"""Patience with full workers here: one that frees memory goes on within a second [s]."""
REMOTE_STALL_S = 60.0
"""Patience with workers elsewhere, which somebody may start anew [s]."""
_MAX_RESTARTS = 3


@dataclass
class WorkerSupervisor:
    """Bring back workers that a local cluster has given up.

    A worker that dies faster than it restarts is never started again, and the work would wait
    for ever. Called now and then while nothing finishes.
    """

    cluster: LocalCluster
    n_workers: int
    watchdog: Callable[[], None] | None = None
    """Called while all workers are alive."""
    grace_s: float = _GRACE_S
    n_restarts: int = 0
    _missing_since: float | None = field(default=None, init=False)

    def __call__(self) -> None:
        """Check the workers once.

        Raises:
            RuntimeError: they were brought back too often.
        """
        alive = len(self.cluster.scheduler_info["workers"])
        if alive >= self.n_workers:
            self._missing_since = None
            if self.watchdog is not None:
                self.watchdog()
            return
        now = time.monotonic()
        self._missing_since = now if self._missing_since is None else self._missing_since
        if now - self._missing_since >= self.grace_s:
            self._rebuild(alive)

    def _rebuild(self, alive: int) -> None:
        if self.n_restarts >= _MAX_RESTARTS:
            raise RuntimeError(
                f"{self.n_workers - alive} of {self.n_workers} workers are gone after "
                f"{self.n_restarts} restarts, so the work cannot go on; give each more memory "
                "(compute.memory_gb) or start fewer (compute.workers)"
            )
        self.n_restarts += 1
        self._missing_since = None
        log.warning("%d of %d workers are alive; starting all anew", alive, self.n_workers)
        self.cluster.scale(0)
        self.cluster.scale(self.n_workers)


class StallWatchdog:
    """End what waits for workers that will never take another task.

    Args:
        client: connected client.
        patience_s: how long that has to last [s].
    """

    def __init__(self, client: Client, patience_s: float) -> None:
        self._client = client
        self._patience_s = patience_s
        self._since: float | None = None

    def __call__(self) -> None:
        """Check the workers once.

        Raises:
            RuntimeError: none of them takes tasks, and has not for long.
        """
        reason = find_stalled(self._client.scheduler_info(n_workers=-1)["workers"])
        if not reason:
            self._since = None
            return
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since >= self._patience_s:
            raise RuntimeError(
                f"{reason}, for {now - self._since:.0f} s, so the work would wait for ever; "
                "give each more memory (compute.memory_gb, or 'dask worker --memory-limit') or "
                "start fewer; what is done is kept"
            )
