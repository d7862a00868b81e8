"""What a worker's memory must hold: planned before anything runs, measured while it does.

A worker that is out of memory does not say so: Dask hands it no more work, or it is killed and
its work begins again elsewhere. So plans count what a process holds of itself and what its
task takes, and every task measures the peak of its process.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import psutil

from stores.formatting import format_bytes, pluralize

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

WORKER_BASE_BYTES = 400 << 20
"""What a worker holds beside its task: libraries, and buffers of reading and writing.

Measured on Linux: 251 MiB idle, 338 MiB after the imports of its first tile; see
docs/planning.md.
"""
USABLE_FRACTION = 0.8
"""Part of a worker's limit; beyond it Dask hands a worker no more tasks (its ``pause``)."""
_STATUS = Path("/proc/self/status")
_PEAK_KEY = "VmHWM:"
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


@dataclass(frozen=True, slots=True)
class WorkerPool:
    """Who computes: how many, and the memory of each [B]."""

    n_workers: int
    n_bytes: int
    """Limit of each: beyond it a worker is killed."""
    base_bytes: int = 0
    """What a worker holds beside its tasks."""
    threads: int = 1
    """Tasks that a worker computes at the same time."""
    source: str = "this machine"
    """Where these numbers come from."""
    gpus: int | None = None
    """Workers that offer a GPU; None where this machine is to be asked."""

    @property
    def task_bytes_available(self) -> int:
        """What one task may take [B]."""
        return (int(USABLE_FRACTION * self.n_bytes) - self.base_bytes) // self.threads

    @property
    def is_local(self) -> bool:
        """Whether a recipe decides how many workers there are, and their memory."""
        return self.gpus is None

    def memory_limit_for(self, task_bytes: int) -> int:
        """Return the limit of a worker whose tasks take ``task_bytes`` [B]."""
        return math.ceil((self.base_bytes + self.threads * task_bytes) / USABLE_FRACTION)

    def suggest_fix(self, task_bytes: int) -> str:
        """Return the smallest change that gives every task ``task_bytes``, as text."""
        needed = self.memory_limit_for(task_bytes)
        gigabytes = f"{math.ceil(needed / 1e8) / 10:g}"
        if not self.is_local:
            return f"start them with 'dask worker --memory-limit {gigabytes}GB'"
        fewer = self.n_workers * self.n_bytes // needed
        also = f" or compute.workers={fewer}" if 0 < fewer < self.n_workers else ""
        return f"set compute.memory_gb={gigabytes}{also}"

    def check(self) -> None:
        """Refuse workers that are full before they have done anything.

        Raises:
            ValueError: a worker's own memory is beyond what it may hold.
        """
        if self.task_bytes_available <= 0:
            usable = format_bytes(self.n_bytes * USABLE_FRACTION)
            raise ValueError(
                f"a worker of {format_bytes(self.n_bytes)} may hold {usable} "
                f"({USABLE_FRACTION:.0%} of its limit) but holds "
                f"{format_bytes(self.base_bytes)} before it has done anything, so it would "
                f"never take a task; {self.suggest_fix(_SMALLEST_TASK_BYTES)}"
            )

    def __str__(self) -> str:
        each = (
            f"{format_bytes(self.n_bytes)} each"
            if self.n_workers > 1
            else format_bytes(self.n_bytes)
        )
        threads = f", {self.threads} threads" if self.threads > 1 else ""
        return f"{pluralize(self.n_workers, 'worker')} of {self.source}, {each}{threads}"


_SMALLEST_TASK_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """What one process needs for one kind of work [B]."""

    task: str
    """Such as 'a tile of 256 px'."""
    task_bytes: int
    own_bytes: int
    process: str = "a worker"

    @property
    def n_bytes(self) -> int:
        """What the process needs together [B]."""
        return self.own_bytes + self.task_bytes

    def __str__(self) -> str:
        return (
            f"{format_bytes(self.n_bytes)} for {self.process}: "
            f"{format_bytes(self.own_bytes)} itself, "
            f"{format_bytes(self.task_bytes)} for {self.task}"
        )

    def check(self, workers: WorkerPool) -> None:
        """Refuse work that no worker has the memory for.

        Raises:
            ValueError: says the smallest change that would do.
        """
        workers.check()
        if self.task_bytes > workers.task_bytes_available:
            left = format_bytes(max(0, workers.task_bytes_available))
            raise ValueError(
                f"{self.task} needs {format_bytes(self.task_bytes)} beside the "
                f"{format_bytes(self.own_bytes)} of a worker itself, but a worker of "
                f"{format_bytes(workers.n_bytes)} has {left} left, so it would be killed; "
                f"{workers.suggest_fix(self.task_bytes)}"
            )

    def compare(self, measured_bytes: int) -> str:
        """Return the planned memory beside the measured one, as text."""
        return (
            f"memory of {self.process}: planned {format_bytes(self.n_bytes)}, measured "
            f"{format_bytes(measured_bytes)} ({self.task})"
        )


class MeasuredResult(NamedTuple, Generic[ResultT]):
    """The result of a task, and the peak memory of its process [B]."""

    result: ResultT
    peak_bytes: int


@dataclass
class PeakMemory:
    """The largest memory of any process while it worked [B]."""

    n_bytes: int = field(default=0, init=False)

    def record(self, measured: MeasuredResult[ResultT]) -> ResultT:
        """Record the peak of a task, and return the result."""
        self.n_bytes = max(self.n_bytes, measured.peak_bytes)
        return measured.result

    def pop(self) -> int:
        """Return the peak since the last call [B]; 0 where none was recorded."""
        n_bytes = self.n_bytes
        self.n_bytes = 0
        return n_bytes


def run_measured(function: Callable[[ItemT], ResultT], item: ItemT) -> MeasuredResult[ResultT]:
    """Call a function, and measure its process."""
    reset_peak_rss()
    result = function(item)
    return MeasuredResult(result, peak_rss_bytes())


def reset_peak_rss() -> None:
    """Forget what this process held before; without Linux the peak is of all time."""
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK)
    except OSError:
        return


def peak_rss_bytes() -> int:
    """Return the largest memory of this process since ``reset_peak_rss`` [B]."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return _peak_rss_since_start()
    return next(
        (int(line.split()[1]) * 1024 for line in lines if line.startswith(_PEAK_KEY)),
        0,
    )


def _peak_rss_since_start() -> int:
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def rss_bytes() -> int:
    """Return the memory of this process now [B]."""
    return int(psutil.Process().memory_info().rss)
