"""Run one function on several Dask workers at the same time, for work that talks to itself."""

from __future__ import annotations

import logging
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from distributed import Client, Future, KilledWorker, Worker, get_worker

log = logging.getLogger(__name__)

GPU = "GPU"
"""Name of the Dask resource that workers with a GPU offer."""

_PULSE_S = 0.5
_PATIENCE_S = 30.0  # a worker that was killed is back in 1 to 3 s
_GRACE_S = 10.0  # until those that lost a companion have noticed
_RESTART_S = 30.0

Say = Callable[[Any], None]
"""Sends plain values to who started the work; raises when nobody wants it any more."""


@dataclass(frozen=True, slots=True)
class Seat:
    """Where one of the companions sits, and where all of them can meet."""

    rank: int
    n: int
    host: str
    """Address at which the others reach this one."""
    meeting: tuple[str, int]
    """Address of the first one, and a port that was free there."""


Function = Callable[[Seat, Say], Any]


@dataclass
class Together:
    """Companions on workers of their own: all run at the same time, or none goes on.

    Args:
        client: connected client.
        n: how many.
        on_gpu: take workers that have a GPU.
        look_after: called while waiting; brings back workers that are missing.
    """

    client: Client
    n: int
    on_gpu: bool = False
    look_after: Callable[[], None] = lambda: None
    _addresses: list[str] = field(default_factory=list, init=False)

    def run(self, function: Function, hear: Callable[[Any], None]) -> list[Any]:
        """Give the results in the order of ranks; ``hear`` is told what they say.

        Raises:
            ConnectionError: a worker died, or there are too few.
        """
        self._addresses = self._choose()
        topic = f"together-{uuid.uuid4().hex}"
        said: SimpleQueue[Any] = SimpleQueue()
        self.client.subscribe_topic(topic, lambda event: said.put(event[1]))
        futures: list[Future[Any]] = []
        try:
            futures = self._start(function, topic)
            self._wait(futures, partial(_hear_all, said, hear))
            return [future.result() for future in futures]
        except BaseException:
            self._stop(futures)
            raise
        finally:
            self.client.unsubscribe_topic(topic)

    def _choose(self) -> list[str]:
        """Choose one worker for each, and wait a while for those that are being restarted."""
        until = time.monotonic() + _PATIENCE_S
        while len(found := self._usable()) < self.n:
            if time.monotonic() > until:
                kind = "workers with a GPU" if self.on_gpu else "workers"
                raise ConnectionError(
                    f"{len(found)} {kind} are there for compute.ranks={self.n}, which learn at "
                    "the same time, each on its own, so they would wait for ever; start "
                    "more, or lower compute.ranks"
                )
            self.look_after()
            time.sleep(_PULSE_S)
        return found[: self.n]

    def _usable(self) -> list[str]:
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        return sorted(
            address
            for address, worker in workers.items()
            if not self.on_gpu or worker["resources"].get(GPU, 0) >= 1
        )

    def _start(self, function: Function, topic: str) -> list[Future[Any]]:
        first, *_ = hosts = [str(urlsplit(address).hostname) for address in self._addresses]
        port = self.client.run(_free_port, first, workers=self._addresses[:1])
        meeting = (first, port[self._addresses[0]])
        return [
            self.client.submit(
                _take_seat,
                function,
                Seat(rank, self.n, host, meeting),
                topic,
                workers=[address],
                allow_other_workers=False,
                resources={GPU: 1} if self.on_gpu else None,
                pure=False,
            )
            for rank, (host, address) in enumerate(zip(hosts, self._addresses, strict=True))
        ]

    def _wait(self, futures: Sequence[Future[Any]], listen: Callable[[], None]) -> None:
        """Wait until all are done; raise when one fails or is gone."""
        while True:
            listen()
            gone = self._gone(futures)
            failed = [f for f in futures if f.status in ("error", "cancelled", "lost")]
            if gone or failed:
                _settle(futures)
                listen()
                raise self._error(futures, gone)
            if all(future.done() for future in futures):
                listen()
                return
            _settle(futures, _PULSE_S)

    def _gone(self, futures: Sequence[Future[Any]]) -> list[int]:
        """List the ranks whose worker died before they were done."""
        alive = self.client.scheduler_info(n_workers=-1)["workers"]
        return [
            rank
            for rank, address in enumerate(self._addresses)
            if address not in alive and futures[rank].status != "finished"
        ]

    def _error(self, futures: Sequence[Future[Any]], gone: Sequence[int]) -> BaseException:
        """Choose what ended the work; others only say that they lost a companion."""
        found = [future.exception() for future in futures if future.status == "error"]
        lost = [error for error in found if isinstance(error, ConnectionError | KilledWorker)]
        own = [error for error in found if error not in lost]
        if own and own[0] is not None:
            return own[0]
        gone = gone or self._gone(futures)
        if not gone and lost and lost[0] is not None:
            return lost[0]
        which = ", ".join(f"rank {rank} ({self._addresses[rank]})" for rank in gone)
        return ConnectionError(
            f"the worker of {which or 'a rank'} is gone, so all {self.n} ranks stopped; run "
            "the same command: it goes on from the state that was kept. If it happens again, "
            "most likely the memory is full: raise compute.memory_gb"
        )

    def _stop(self, futures: Sequence[Future[Any]]) -> None:
        """Let no companion go on, and give back workers that wait for one that is gone."""
        self.client.cancel(list(futures), force=True)
        until = time.monotonic() + _GRACE_S
        while (busy := self._busy()) and time.monotonic() < until:
            time.sleep(_PULSE_S)
        if busy:
            log.warning("workers %s did not stop and are restarted", ", ".join(busy))
            self.client.restart_workers(busy, timeout=_RESTART_S, raise_for_error=False)

    def _busy(self) -> list[str]:
        alive = self.client.scheduler_info(n_workers=-1)["workers"]
        asked = [address for address in self._addresses if address in alive]
        answers = self.client.run(_is_busy, workers=asked, on_error="ignore") if asked else {}
        return [address for address, is_busy in answers.items() if is_busy]


def _take_seat(function: Function, seat: Seat, topic: str) -> Any:
    """Run on a worker."""
    worker = get_worker()
    key = worker.get_current_task()

    def say(message: Any) -> None:
        task = worker.state.tasks.get(key)
        if task is None or task.state == "cancelled":
            raise InterruptedError(f"rank {seat.rank} is not wanted any more, so it stops")
        if message is not None:
            worker.log_event(topic, message)

    return function(seat, say)


def _hear_all(said: SimpleQueue[Any], hear: Callable[[Any], None]) -> None:
    while True:
        try:
            message = said.get_nowait()
        except Empty:
            return
        hear(message)


def _settle(futures: Sequence[Future[Any]], timeout_s: float = _GRACE_S) -> None:
    """Wait for all of them a little; one that failed does not end the waiting."""
    until = time.monotonic() + timeout_s
    while any(future.status == "pending" for future in futures):
        left = until - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, 0.05))


def _free_port(host: str) -> int:
    """Find a free port of this machine."""
    with socket.socket() as found:
        found.bind((host, 0))
        port: int = found.getsockname()[1]
        return port


def _is_busy(dask_worker: Worker) -> bool:
    return bool(dask_worker.active_threads)
