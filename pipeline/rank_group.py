"""Run one function on several Dask workers at the same time, for work that talks to itself."""

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
_GRACE_PERIOD_S = 10.0  # until those that lost a companion have noticed
_SLEEP_S = 0.05
_SECONDARY_ERRORS = (ConnectionError, KilledWorker)  # of an error elsewhere

_stopping_topics: set[str] = set()  # topics, on a worker


@dataclass(frozen=True, slots=True)
class RankChannel:
    """The line from one of the companions to who started them."""

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
        """Tell whether to keep what is done and end."""
        return self.topic in _stopping_topics


@dataclass(frozen=True, slots=True)
class RankContext:
    """Where one of the companions sits, and where all of them can meet."""

    rank: int
    world_size: int
    host: str
    """Address at which the others reach this one."""
    rendezvous: tuple[str, int]
    """Address of the first one, and a port that was free there."""


Function = Callable[[RankContext, RankChannel], Any]


@dataclass
class RankGroup:
    """Companions on workers of their own: all run at the same time, or none goes on.

    Args:
        client: connected client.
        n: how many.
        on_gpu: take workers that have a GPU.
        look_after: called while waiting; brings back workers that are missing.
        is_ending: tells whether the companions are to be asked to end.
    """

    client: Client
    n: int
    on_gpu: bool = False
    restart_workers: Callable[[], None] = lambda: None
    should_stop: Callable[[], bool] = lambda: False
    _addresses: list[str] = field(default_factory=list, init=False)
    _stop_requested: bool = field(default=False, init=False)

    def run(self, function: Function, on_message: Callable[[Any], None]) -> list[Any]:
        """Give the results in the order of ranks; ``hear`` is told what they say.

        Raises:
            ConnectionError: a worker died, or there are too few.
        """
        self._addresses = self._pick_workers()
        topic = f"together-{uuid.uuid4().hex}"
        said: SimpleQueue[Any] = SimpleQueue()
        self.client.subscribe_topic(topic, lambda event: said.put(event[1]))
        futures: list[Future[Any]] = []
        try:
            futures = self._start(function, topic)
            self._wait(futures, partial(self._pump_messages, said, on_message, topic))
            return [future.result() for future in futures]
        except BaseException:
            self._stop(futures)
            raise
        finally:
            self.client.unsubscribe_topic(topic)

    def _pick_workers(self) -> list[str]:
        """Choose one worker for each, and wait a while for those that are being restarted."""
        until = time.monotonic() + _WORKERS_TIMEOUT_S
        while len(found := self._find_candidates()) < self.n:
            if time.monotonic() > until:
                kind = "workers with a GPU" if self.on_gpu else "workers"
                raise ConnectionError(
                    f"{len(found)} {kind} are there for compute.ranks={self.n}, which learn at "
                    "the same time, each on its own, so they would wait for ever; start "
                    "more, or lower compute.ranks"
                )
            self.restart_workers()
            time.sleep(_POLL_S)
        return found[: self.n]

    def _find_candidates(self) -> list[str]:
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        return sorted(
            address
            for address, worker in workers.items()
            if not self.on_gpu or worker["resources"].get(GPU_RESOURCE, 0) >= 1
        )

    def _start(self, function: Function, topic: str) -> list[Future[Any]]:
        first, *_ = hosts = [str(urlsplit(address).hostname) for address in self._addresses]
        port = self.client.run(_free_port, first, workers=self._addresses[:1])
        meeting = (first, port[self._addresses[0]])
        return [
            self.client.submit(
                _run_rank,
                function,
                RankContext(rank, self.n, host, meeting),
                topic,
                workers=[address],
                allow_other_workers=False,
                resources={GPU_RESOURCE: 1} if self.on_gpu else None,
                pure=False,
            )
            for rank, (host, address) in enumerate(zip(hosts, self._addresses, strict=True))
        ]

    def _wait(self, futures: Sequence[Future[Any]], talk: Callable[[], None]) -> None:
        """Wait until all are done; raise when one fails or is gone."""
        lost_s = math.inf
        while not all(future.status == "finished" for future in futures):
            talk()
            errors = [f.exception() for f in futures if f.status == "error"]
            self._check(futures, errors)
            if errors:  # somebody lost the others: who has the cause is about to say it
                lost_s = min(lost_s, time.monotonic())
                if time.monotonic() - lost_s > _GRACE_PERIOD_S:
                    raise _without_none(errors)[0]
            _wait_for_change(futures)
        talk()

    def _check(self, futures: Sequence[Future[Any]], errors: Sequence[Any]) -> None:
        """Raise what ended the work, as soon as that is known."""
        causes = [
            error for error in _without_none(errors) if not isinstance(error, _SECONDARY_ERRORS)
        ]
        if causes:
            raise causes[0]
        alive = self._alive()
        gone = [
            f"rank {rank} ({address})"
            for rank, address in enumerate(self._addresses)
            if address not in alive and futures[rank].status != "finished"
        ]
        if gone or any(future.cancelled() for future in futures):
            raise ConnectionError(
                f"the worker of {', '.join(gone) or 'a rank'} is gone, so all {self.n} ranks "
                "stopped; run the same command: it goes on from the state that was kept. If it "
                "happens again, most likely the memory is full: raise compute.memory_gb"
            )

    def _pump_messages(
        self, said: SimpleQueue[Any], hear: Callable[[Any], None], topic: str
    ) -> None:
        """Hear what the companions said, and ask them to end when it is time."""
        with suppress(Empty):
            while True:
                hear(said.get_nowait())
        if self.should_stop() and not self._stop_requested:
            self._stop_requested = True
            self.client.run(_request_stop, topic, workers=self._addresses)

    def _stop(self, futures: Sequence[Future[Any]]) -> None:
        """Let no companion go on, and take workers back from those that hear nothing."""
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
        asked = [address for address in self._addresses if address in alive]
        answers = self.client.run(_is_busy, workers=asked, on_error="ignore") if asked else {}
        return [address for address, is_busy in answers.items() if is_busy]


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
    """Wait for one pulse, or until one of them ends."""
    before, until = [future.status for future in futures], time.monotonic() + _POLL_S
    while time.monotonic() < until and before == [future.status for future in futures]:
        time.sleep(_SLEEP_S)


def _wait_while(is_so: Callable[[], object]) -> None:
    until = time.monotonic() + _GRACE_PERIOD_S
    while is_so() and time.monotonic() < until:
        time.sleep(_SLEEP_S)


def _free_port(host: str) -> int:
    """Find a free port of this machine."""
    with socket.socket() as found:
        found.bind((host, 0))
        port: int = found.getsockname()[1]
        return port


def _schedule_exit() -> None:
    threading.Timer(_SLEEP_S, os._exit, [1]).start()  # behind the answer


def _is_busy(dask_worker: Worker) -> bool:
    return bool(dask_worker.active_threads)
