"""Spread work over workers: this process, its threads, or (``on_dask``) those of a cluster.

Work is a plain function and a list of small, picklable items; results are small too. Twice as
many items as there are workers are on their way at a time, so that nothing fills up.
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
"""Items of each worker: one that is computed, and one that is there when it is done."""


class Executor(Protocol):
    """A place where functions run: this process, or workers."""

    @property
    def shares_memory(self) -> bool:
        """Tell whether functions may write into arrays of their caller."""

    @property
    def n_workers(self) -> int:
        """How many items run at the same time."""

    def pop_peak_bytes(self) -> int:
        """Give the most that a process held that computed here since the last call [B]."""

    def with_gpu(self, needed: bool) -> Executor:
        """Give this place, or where a GPU is ``needed`` the part of it that has one.

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

        All stop when one fails or dies. ``hear`` is told what they say, in this thread; once
        ``should_stop``, they are asked to keep what is done and end.

        Raises:
            ConnectionError: a worker died; the same call may go well.
            ValueError: there is no such place here.
        """


def available_bytes() -> int:
    """Say how much memory this process may still take: of the machine, or of its limit.

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
    """A place with one process: nothing runs there at the same time."""

    def pop_peak_bytes(self) -> int:
        """Give the most that this process held since the last call [B]."""
        n_bytes = peak_rss_bytes()
        reset_peak_rss()
        return n_bytes

    def with_gpu(self, needed: bool) -> Self:
        """Give this place: a process computes on the GPU that it sees."""
        return self

    def run_ranks(
        self,
        function: Callable[[RankContext, RankChannel], ResultT],
        n: int,
        *,
        on_message: Callable[[Any], None],
        should_stop: Callable[[], bool],
    ) -> list[ResultT]:
        """Refuse: the parts of one process would wait for each other."""
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
        rest = iter(items)
        pool = ThreadPoolExecutor(self._n_workers, thread_name_prefix="cubecast")
        try:
            first = islice(rest, MAX_IN_FLIGHT_PER_WORKER * self._n_workers)
            window = deque(pool.submit(function, item) for item in first)
            while window:
                yield window.popleft().result()
                window.extend(pool.submit(function, item) for item in islice(rest, 1))
        finally:  # also when nobody wants the rest
            pool.shutdown(wait=True, cancel_futures=True)

    def map_unordered(
        self, function: Callable[[ItemT], ResultT], items: Iterable[ItemT]
    ) -> Iterator[tuple[ItemT, ResultT]]:
        """Yield items with their results, in order: here that costs no time."""
        return self.map(lambda item: (item, function(item)), items)
