"""Run one function on several Dask workers at the same time, as ranks that communicate."""

from __future__ import annotations

import logging
import math
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from distributed import Client, Future, KilledWorker, Worker, get_worker

log = logging.getLogger(__name__)

GPU_RESOURCE = "GPU"
"""Name of the Dask resource that workers with a GPU offer."""

_POLL_S = 0.5
_WORKERS_TIMEOUT_S = 30.0  # a worker that was killed is back in 1 to 3 s
_GRACE_PERIOD_S = 10.0  # until ranks that lost another one have noticed
_SLEEP_S = 0.05
_SECONDARY_ERRORS = (ConnectionError, KilledWorker)  # of an error elsewhere

_stopping_topics: set[str] = set()  # topics, on a worker


@dataclass(frozen=True, slots=True)
class RankChannel:
    """The way from a rank to the process that started it, and for a request to stop, back."""

    rank: int
    topic: str
    key: Any

    def send(self, message: Any) -> None:
        """Send a plain value; None sends nothing, but looks whether anybody listens.

        Raises:
            RuntimeError: nobody wants the work any more.
        """
        worker = get_worker()
        task = worker.state.tasks.get(self.key)
        if task is None or task.state == "cancelled":
            raise RuntimeError(f"rank {self.rank} is not wanted any more, so it stops")
        if message is not None:
            worker.log_event(self.topic, message)

    def is_stop_requested(self) -> bool:
        """Whether the rank is to save its work and end."""
        return self.topic in _stopping_topics


@dataclass(frozen=True, slots=True)
class RankContext:
    """Which rank this is, and where all ranks meet."""

    rank: int
    world_size: int
    host: str
    """Address at which the others reach this one."""
    rendezvous: tuple[str, int]
    """Address of the first one, and a port that was free there."""


Function = Callable[[RankContext, RankChannel], Any]


@dataclass
class RankGroup:
    """Ranks on workers of their own: all run at the same time, or none goes on.

    Args:
        client: connected client.
        n: number of ranks.
        on_gpu: take workers that have a GPU.
        restart_workers: called while waiting; brings back workers that are missing.
        should_stop: whether the ranks are to save their work and end.
    """

    client: Client
    n: int
    on_gpu: bool = False
    restart_workers: Callable[[], None] = lambda: None
    should_stop: Callable[[], bool] = lambda: False
    _addresses: list[str] = field(default_factory=list, init=False)
    _stop_requested: bool = field(default=False, init=False)

    def run(self, function: Function, on_message: Callable[[Any], None]) -> list[Any]:
        """Return the results in the order of ranks; messages of the ranks go to ``on_message``.

        Raises:
            ConnectionError: a worker died, or there are too few.
        """
        self._addresses = self._pick_workers()
        topic = f"ranks-{uuid.uuid4().hex}"
        messages: SimpleQueue[Any] = SimpleQueue()
        self.client.subscribe_topic(topic, lambda event: messages.put(event[1]))
        futures: list[Future[Any]] = []
        try:
            futures = self._start(function, topic)
            self._wait(futures, partial(self._pump_messages, messages, on_message, topic))
            return [future.result() for future in futures]
        except BaseException:
            self._stop(futures)
            raise
        finally:
            self.client.unsubscribe_topic(topic)

    def _pick_workers(self) -> list[str]:
        """Choose a worker for each rank; wait a while for those that are being restarted."""
        until = time.monotonic() + _WORKERS_TIMEOUT_S
        while len(candidates := self._find_candidates()) < self.n:
            if time.monotonic() > until:
                kind = "workers with a GPU" if self.on_gpu else "workers"
                raise ConnectionError(
                    f"{len(candidates)} {kind} are there for compute.ranks={self.n}, which "
                    "learn at the same time, each on its own, so they would wait for ever; "
                    "start more, or lower compute.ranks"
                )
            self.restart_workers()
            time.sleep(_POLL_S)
        return candidates[: self.n]

    def _find_candidates(self) -> list[str]:
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        return sorted(
            address
            for address, worker in workers.items()
            if not self.on_gpu or worker["resources"].get(GPU_RESOURCE, 0) >= 1
        )

    def _start(self, function: Function, topic: str) -> list[Future[Any]]:
        hosts = [str(urlsplit(address).hostname) for address in self._addresses]
        ports = self.client.run(_free_port, hosts[0], workers=self._addresses[:1])
        rendezvous = (hosts[0], ports[self._addresses[0]])
        return [
            self.client.submit(
                _run_rank,
                function,
                RankContext(rank, self.n, host, rendezvous),
                topic,
                workers=[address],
                allow_other_workers=False,
                resources={GPU_RESOURCE: 1} if self.on_gpu else None,
                pure=False,
            )
            for rank, (host, address) in enumerate(zip(hosts, self._addresses, strict=True))
        ]

    def _wait(self, futures: Sequence[Future[Any]], pump_messages: Callable[[], None]) -> None:
        """Wait until all ranks are done; raise when one fails or is gone."""
        lost_s = math.inf
        while not all(future.status == "finished" for future in futures):
            pump_messages()
            errors = [f.exception() for f in futures if f.status == "error"]
            self._check(futures, errors)
            if errors:  # a rank lost the others: the one that failed is about to report why
                lost_s = min(lost_s, time.monotonic())
                if time.monotonic() - lost_s > _GRACE_PERIOD_S:
                    raise _without_none(errors)[0]
            _wait_for_change(futures)
        pump_messages()

    def _check(self, futures: Sequence[Future[Any]], errors: Sequence[Any]) -> None:
        """Raise what ended the work, as soon as that is known."""
        causes = [
            error for error in _without_none(errors) if not isinstance(error, _SECONDARY_ERRORS)
        ]
        if causes:
            raise causes[0]
        alive = self._alive()
        lost = [
            f"rank {rank} ({address})"
            for rank, address in enumerate(self._addresses)
            if address not in alive and futures[rank].status != "finished"
        ]
        if lost or any(future.cancelled() for future in futures):
            raise ConnectionError(
                f"the worker of {', '.join(lost) or 'a rank'} is gone, so all {self.n} ranks "
                "stopped; run the same command: it goes on from the state that was kept. If it "
                "happens again, most likely the memory is full: raise compute.memory_gb"
            )

    def _pump_messages(
        self, messages: SimpleQueue[Any], on_message: Callable[[Any], None], topic: str
    ) -> None:
        """Hand on the messages of the ranks, and request them to stop when it is time."""
        with suppress(Empty):
            while True:
                on_message(messages.get_nowait())
        if self.should_stop() and not self._stop_requested:
            self._stop_requested = True
            self.client.run(_request_stop, topic, workers=self._addresses)

    def _stop(self, futures: Sequence[Future[Any]]) -> None:
        """Cancel all ranks, and restart the workers of those that do not stop."""
        self.client.cancel(list(futures), force=True)
        _wait_while(self._busy)
        if busy := self._busy():
            log.warning("workers %s did not stop and are restarted", ", ".join(busy))
            self.client.run(_schedule_exit, workers=busy)  # their nannies start them anew
            _wait_while(lambda: self._alive() & set(busy))

    def _alive(self) -> set[str]:
        return set(self.client.scheduler_info(n_workers=-1)["workers"])

    def _busy(self) -> list[str]:
        alive = self._alive()
        addresses = [address for address in self._addresses if address in alive]
        if not addresses:
            return []
        busy = self.client.run(_is_busy, workers=addresses, on_error="ignore")
        return [address for address, is_busy in busy.items() if is_busy]


def _run_rank(function: Function, rank_context: RankContext, topic: str) -> Any:
    """Run on a worker."""
    return function(
        rank_context, RankChannel(rank_context.rank, topic, get_worker().get_current_task())
    )


def _request_stop(topic: str) -> None:
    _stopping_topics.add(topic)


def _without_none(errors: Sequence[BaseException | None]) -> list[BaseException]:
    return [error for error in errors if error is not None]


def _wait_for_change(futures: Sequence[Future[Any]]) -> None:
    """Wait for one poll interval, or until the status of a future changes."""
    before = [future.status for future in futures]
    until = time.monotonic() + _POLL_S
    while time.monotonic() < until and before == [future.status for future in futures]:
        time.sleep(_SLEEP_S)


def _wait_while(is_so: Callable[[], object]) -> None:
    until = time.monotonic() + _GRACE_PERIOD_S
    while is_so() and time.monotonic() < until:
        time.sleep(_SLEEP_S)


def _free_port(host: str) -> int:
    """Find a free port of this machine."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def _schedule_exit() -> None:
    threading.Timer(_SLEEP_S, os._exit, [1]).start()  # after the result is sent


def _is_busy(dask_worker: Worker) -> bool:
    return bool(dask_worker.active_threads)
