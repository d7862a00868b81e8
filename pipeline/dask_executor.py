"""Spread work over the workers of a Dask cluster."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from functools import partial
from itertools import islice
from typing import Any, Generic
from uuid import uuid4

from dask.utils import funcname
from distributed import Client, Future, KilledWorker, wait

from pipeline.executors import MAX_IN_FLIGHT_PER_WORKER, ItemT, ResultT
from pipeline.memory import MeasuredResult, PeakMemory, run_measured
from pipeline.rank_group import GPU_RESOURCE, RankChannel, RankContext, RankGroup

log = logging.getLogger(__name__)

_ATTEMPTS = 3  # a worker that dies takes its items along; the fourth death is no accident
_POLL_S = 5.0


class DaskExecutor:
    """Compute on the workers of a Dask cluster.

    Args:
        client: connected client.
        revive: called when workers are missing; brings them back.
        on_gpu: whether only workers that have a GPU take items.
        peak: notes the most that a worker held.
    """

    shares_memory = False

    def __init__(
        self,
        client: Client,
        revive: Callable[[], None] | None = None,
        on_gpu: bool = False,
        peak: PeakMemory | None = None,
    ) -> None:
        self._client = client
        self._revive = revive
        self._on_gpu = on_gpu
        self._peak = peak or PeakMemory()

    def with_gpu(self, needed: bool) -> DaskExecutor:
        """Give this place, or where a GPU is ``needed`` the workers that have one."""
        return DaskExecutor(self._client, self._revive, True, self._peak) if needed else self

    def pop_peak_bytes(self) -> int:
        """Give the most that a worker held while it computed, since the last call [B]."""
        return self._peak.pop()

    @property
    def n_workers(self) -> int:
        """Workers that are alive now, at least one."""
        return max(1, len(self._client.scheduler_info(n_workers=-1)["workers"]))

    def map(
        self, function: Callable[[ItemT], ResultT], items: Iterable[ItemT]
    ) -> Iterator[ResultT]:
        """Yield results in order through a bounded window."""
        start, rest = partial(self._submit, function), iter(items)
        window = deque(map(start, islice(rest, self._max_in_flight())))
        while window:
            yield self._peak.record(window[0].result())
            window.popleft()
            window.extend(map(start, islice(rest, 1)))

    def map_unordered(
        self, function: Callable[[ItemT], ResultT], items: Iterable[ItemT]
    ) -> Iterator[tuple[ItemT, ResultT]]:
        """Yield items with their results as they finish, through a bounded window."""
        start, rest = partial(self._submit, function), iter(items)
        running = {
            item.future: item for item in map(start, islice(rest, self._max_in_flight()))
        }
        while running:
            for future in self._wait_any(list(running)):
                item = running.pop(future)
                yield item.item, self._peak.record(item.result())
                for following in islice(rest, 1):
                    started = start(following)
                    running[started.future] = started

    def run_ranks(
        self,
        function: Callable[[RankContext, RankChannel], ResultT],
        n: int,
        *,
        on_message: Callable[[Any], None],
        should_stop: Callable[[], bool],
    ) -> list[ResultT]:
        """Run a function on ``n`` workers at once; all stop when one fails."""
        restart_workers = self._revive or (lambda: None)
        answers = RankGroup(self._client, n, self._on_gpu, restart_workers, should_stop).run(
            partial(_measured, function), on_message
        )
        return [self._peak.record(answer) for answer in answers]

    def _max_in_flight(self) -> int:
        """Say how many items may be on their way.

        Raises:
            ValueError: they need a GPU and nobody offers one, so they would wait for ever.
        """
        if self._on_gpu:
            workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
            if not any(worker["resources"].get(GPU_RESOURCE) for worker in workers):
                raise ValueError(
                    f"the network runs on a GPU but none of {len(workers)} workers offers the "
                    f"resource {GPU_RESOURCE!r}, so its work would wait for ever; start them with "
                    "'dask worker --resources GPU=1', or set compute.device=cpu"
                )
        return MAX_IN_FLIGHT_PER_WORKER * self.n_workers

    def _submit(
        self, function: Callable[[ItemT], ResultT], item: ItemT
    ) -> _PendingTask[ItemT, ResultT]:
        resources = {GPU_RESOURCE: 1} if self._on_gpu else None

        def submit() -> Future[Any]:
            key = f"{funcname(function)}-{uuid4()}"  # what the dashboard shows
            return self._client.submit(
                run_measured, function, item, key=key, resources=resources
            )

        return _PendingTask(submit, item, self._wait_any)

    def _wait_any(self, futures: list[Future[Any]]) -> set[Future[Any]]:
        """Wait until some of ``futures`` are finished; look after the workers meanwhile.

        Raises:
            ConnectionError: the scheduler is gone.
        """
        while True:
            try:
                done = wait(
                    futures,
                    timeout=_POLL_S,
                    return_when="FIRST_COMPLETED",
                ).done
            except TimeoutError:
                done = set()
            except CancelledError as error:
                raise ConnectionError(
                    f"the Dask scheduler is gone ({error.__class__.__name__}), so its work "
                    "stopped; start it again and run the same command: what is done is kept"
                ) from error
            if done:
                return set(done)
            if self._revive is not None:
                self._revive()


def _measured(
    function: Callable[[RankContext, RankChannel], ResultT],
    rank_context: RankContext,
    line: RankChannel,
) -> MeasuredResult[ResultT]:
    """Run on a worker."""
    return run_measured(partial(function, rank_context), line)


class _PendingTask(Generic[ItemT, ResultT]):
    """One item on its way; submitted anew when its worker is killed."""

    def __init__(
        self,
        submit: Callable[[], Future[Any]],
        item: ItemT,
        finished: Callable[[list[Future[Any]]], set[Future[Any]]],
    ) -> None:
        self.item = item
        self._submit, self._finished = submit, finished
        self.future: Future[Any] = submit()

    def result(self) -> MeasuredResult[ResultT]:
        """Wait for the result, and for what its worker held.

        Raises:
            RuntimeError: workers died again and again over this item.
        """
        for attempt in range(_ATTEMPTS):
            self._finished([self.future])
            try:
                found: Any = self.future.result()
            except KilledWorker:
                log.warning("workers died over %s (attempt %d)", self.item, attempt + 1)
                time.sleep(attempt)
                self.future = self._submit()
            else:
                return found  # type: ignore[no-any-return]
        raise RuntimeError(
            f"workers died {_ATTEMPTS} times over {self.item}, most likely out of memory, so "
            "it was given up; give each worker more (compute.memory_gb) or make tiles smaller "
            "(rollout.tile_px)"
        )
