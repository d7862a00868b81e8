"""Run functions on the workers of a Dask cluster."""

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
        restart_workers: called while waiting; brings back workers that are missing.
        on_gpu: whether only workers that have a GPU take items.
        peak: records the largest memory of a worker.
    """

    shares_memory = False

    def __init__(
        self,
        client: Client,
        restart_workers: Callable[[], None] = lambda: None,
        on_gpu: bool = False,
        peak: PeakMemory | None = None,
    ) -> None:
        self._client = client
        self._restart_workers = restart_workers
        self._on_gpu = on_gpu
        self._peak = peak or PeakMemory()

    def with_gpu(self, needed: bool) -> DaskExecutor:
        """Return this executor, or where a GPU is ``needed`` one of the workers with one."""
        if not needed:
            return self
        return DaskExecutor(self._client, self._restart_workers, True, self._peak)

    def pop_peak_bytes(self) -> int:
        """Return the largest memory of a worker while it computed, since the last call [B]."""
        return self._peak.pop()

    @property
    def n_workers(self) -> int:
        """Workers that are alive now, at least one."""
        return max(1, len(self._client.scheduler_info(n_workers=-1)["workers"]))

    def map(
        self, function: Callable[[ItemT], ResultT], items: Iterable[ItemT]
    ) -> Iterator[ResultT]:
        """Yield results in order through a bounded window."""
        submit = partial(self._submit, function)
        remaining = iter(items)
        window = deque(map(submit, islice(remaining, self._max_in_flight())))
        while window:
            yield self._peak.record(window[0].result())
            window.popleft()
            window.extend(map(submit, islice(remaining, 1)))

    def map_unordered(
        self, function: Callable[[ItemT], ResultT], items: Iterable[ItemT]
    ) -> Iterator[tuple[ItemT, ResultT]]:
        """Yield items with their results as they finish, through a bounded window."""
        submit = partial(self._submit, function)
        remaining = iter(items)
        first = islice(remaining, self._max_in_flight())
        pending = {task.future: task for task in map(submit, first)}
        while pending:
            for future in self._wait_any(list(pending)):
                task = pending.pop(future)
                yield task.item, self._peak.record(task.result())
                pending |= {new.future: new for new in map(submit, islice(remaining, 1))}

    def run_ranks(
        self,
        function: Callable[[RankContext, RankChannel], ResultT],
        n: int,
        *,
        on_message: Callable[[Any], None],
        should_stop: Callable[[], bool],
    ) -> list[ResultT]:
        """Run a function on ``n`` workers at once; all stop when one fails."""
        ranks = RankGroup(self._client, n, self._on_gpu, self._restart_workers, should_stop)
        results = ranks.run(partial(_run_rank_measured, function), on_message)
        return [self._peak.record(result) for result in results]

    def _max_in_flight(self) -> int:
        """Count the items that may be in flight.

        Raises:
            ValueError: they need a GPU and nobody offers one, so they would wait for ever.
        """
        if self._on_gpu:
            workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
            if not any(worker["resources"].get(GPU_RESOURCE) for worker in workers):
                raise ValueError(
                    f"the network runs on a GPU but none of {len(workers)} workers offers the "
                    f"resource {GPU_RESOURCE!r}, so its work would wait for ever; start them "
                    "with 'dask worker --resources GPU=1', or set compute.device=cpu"
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
        """Wait until some of ``futures`` are finished; restart missing workers meanwhile.

        Raises:
            ConnectionError: the scheduler is gone.
        """
        while True:
            try:
                done = wait(futures, timeout=_POLL_S, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                done = set()
            except CancelledError as error:
                raise ConnectionError(
                    f"the Dask scheduler is gone ({error.__class__.__name__}), so its work "
                    "stopped; start it again and run the same command: what is done is kept"
                ) from error
            if done:
                return set(done)
            self._restart_workers()


def _run_rank_measured(
    function: Callable[[RankContext, RankChannel], ResultT],
    rank_context: RankContext,
    channel: RankChannel,
) -> MeasuredResult[ResultT]:
    """Run a rank on its worker, and measure its process."""
    return run_measured(partial(function, rank_context), channel)


class _PendingTask(Generic[ItemT, ResultT]):
    """One item in flight; submitted again when its worker is killed."""

    def __init__(
        self,
        submit: Callable[[], Future[Any]],
        item: ItemT,
        wait_any: Callable[[list[Future[Any]]], set[Future[Any]]],
    ) -> None:
        self.item = item
        self._submit = submit
        self._wait_any = wait_any
        self.future: Future[Any] = submit()

    def result(self) -> MeasuredResult[ResultT]:
        """Wait for the result, and the peak memory of its worker.

        Raises:
            RuntimeError: workers died again and again over this item.
        """
        for attempt in range(_ATTEMPTS):
            self._wait_any([self.future])
            try:
                result: MeasuredResult[ResultT] = self.future.result()
            except KilledWorker:
                log.warning(
                    "workers died while computing %s (attempt %d)", self.item, attempt + 1
                )
                time.sleep(attempt)
                self.future = self._submit()
            else:
                return result
        raise RuntimeError(
            f"workers died {_ATTEMPTS} times over {self.item}, most likely out of memory, so "
            "it was given up; give each worker more (compute.memory_gb) or make tiles smaller "
            "(rollout.tile_px)"
        )
