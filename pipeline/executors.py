"""Executors: this process, its threads, or the workers of a cluster (``dask_executor``).

Work is a plain function and a list of small, picklable items; results are small too. Twice as
many items as there are workers are in flight at a time, so that no memory fills up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, Protocol, Self, TypeVar

import psutil
from distributed import get_worker
from distributed.system import MEMORY_LIMIT

from pipeline.memory import peak_rss_bytes, reset_peak_rss, rss_bytes
from pipeline.rank_group import RankChannel, RankContext

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

MAX_IN_FLIGHT_PER_WORKER = 2
"""Items of each worker: one that is computed, and one that waits for it."""


class Executor(Protocol):
    """Where functions run: in this process, or on workers."""

    @property
    def shares_memory(self) -> bool:
        """Whether functions may write into arrays of their caller."""

    @property
    def n_workers(self) -> int:
        """Number of items that run at the same time."""

    def pop_peak_bytes(self) -> int:
        """Return the largest memory of a process that computed, since the last call [B]."""

    def with_gpu(self, needed: bool) -> Executor:
        """Return this executor, or where a GPU is ``needed`` one of the workers with one.

        There each worker takes as many items at a time as it has GPUs.
        """

    def map(
        self, function: Callable[[ItemT], ResultT], items: Iterable[ItemT]
    ) -> Iterator[ResultT]:
        """Yield results in the order of ``items``, whatever the number of workers."""

    def map_unordered(
        self, function: Callable[[ItemT], ResultT], items: Iterable[ItemT]
    ) -> Iterator[tuple[ItemT, ResultT]]:
        """Yield every item with its result, as they finish."""

    def run_ranks(
        self,
        function: Callable[[RankContext, RankChannel], ResultT],
        n: int,
        *,
        on_message: Callable[[Any], None],
        should_stop: Callable[[], bool],
    ) -> list[ResultT]:
        """Run ``function`` ``n`` times at once, each on a worker of its own.

        All stop when one fails or dies. Their messages go to ``on_message``, in this thread;
        once ``should_stop``, they are requested to save their work and end.

        Raises:
            ConnectionError: a worker died; the same call may go well.
            ValueError: this executor has no workers to run them on.
        """


def available_bytes() -> int:
    """Return what this process may still allocate: of the machine, or of its limit [B].

    A Dask worker has a limit of its own, beyond which it is killed; others may have that of
    their container.
    """
    return max(0, min(int(psutil.virtual_memory().available), _memory_limit() - rss_bytes()))


def _memory_limit() -> int:
    try:
        limit = get_worker().memory_manager.memory_limit
    except ValueError:  # not on a worker
        limit = None
    return int(limit or MEMORY_LIMIT)


class SingleProcessExecutor:
    """What executors of one process have in common: nothing runs in another one."""

    def pop_peak_bytes(self) -> int:
        """Return the largest memory of this process since the last call [B]."""
        n_bytes = peak_rss_bytes()
        reset_peak_rss()
        return n_bytes

    def with_gpu(self, needed: bool) -> Self:
        """Return this executor: a process computes on the GPU that it sees."""
        return self

    def run_ranks(
        self,
        function: Callable[[RankContext, RankChannel], ResultT],
        n: int,
        *,
        on_message: Callable[[Any], None],
        should_stop: Callable[[], bool],
    ) -> list[ResultT]:
        """Refuse: ranks in one process would wait for each other."""
        raise ValueError(
            f"compute.ranks={n} learn at the same time in processes of their own, but all work "
            f"runs in this one, so they would wait for each other; set compute.workers={n}, or "
            "name a Dask scheduler in compute.scheduler"
        )


class SerialExecutor(SingleProcessExecutor):
    """Compute in this process, one item after the other."""

    n_workers = 1
    shares_memory = True

    def map(
        self, function: Callable[[ItemT], ResultT], items: Iterable[ItemT]
    ) -> Iterator[ResultT]:
        """Yield results in order."""
        return map(function, items)

    def map_unordered(
        self, function: Callable[[ItemT], ResultT], items: Iterable[ItemT]
    ) -> Iterator[tuple[ItemT, ResultT]]:
        """Yield items with their results."""
        return ((item, function(item)) for item in items)


class ThreadExecutor(SingleProcessExecutor):
    """Compute on threads of this process; for work that decodes and copies, which share it.

    Args:
        n_workers: threads.
    """

    shares_memory = True

    def __init__(self, n_workers: int) -> None:
        self._n_workers = n_workers

    @property
    def n_workers(self) -> int:
        """Threads."""
        return self._n_workers

    def map(
        self, function: Callable[[ItemT], ResultT], items: Iterable[ItemT]
    ) -> Iterator[ResultT]:
        """Yield results in order through a bounded window."""
        remaining = iter(items)
        pool = ThreadPoolExecutor(self._n_workers, thread_name_prefix="cubecast")
        try:
            first = islice(remaining, MAX_IN_FLIGHT_PER_WORKER * self._n_workers)
            window = deque(pool.submit(function, item) for item in first)
            while window:
                yield window.popleft().result()
                window.extend(pool.submit(function, item) for item in islice(remaining, 1))
        finally:  # also when the caller takes no more results
            pool.shutdown(wait=True, cancel_futures=True)

    def map_unordered(
        self, function: Callable[[ItemT], ResultT], items: Iterable[ItemT]
    ) -> Iterator[tuple[ItemT, ResultT]]:
        """Yield items with their results, in order: here that costs no time."""
        return self.map(lambda item: (item, function(item)), items)
