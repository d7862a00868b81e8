"""Where the work of a flow runs: this process, a local cluster, or a scheduler elsewhere."""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker

import dask.config
from distributed import Client, LocalCluster, Worker, WorkerPlugin
from distributed.comm.core import CommClosedError
from distributed.security import Security

from flows.worker_supervision import (
    LOCAL_STALL_S,
    REMOTE_STALL_S,
    StallWatchdog,
    WorkerSupervisor,
)
from flows.workers import (
    connect,
    query_scheduler,
    resolve_workers,
    worker_bytes,
    worker_threads,
)
from pipeline.dask_executor import DaskExecutor
from pipeline.executors import Executor, SerialExecutor
from pipeline.rank_group import GPU_RESOURCE
from pipeline.recipes import ComputeRecipe
from stores.formatting import format_bytes, pluralize

log = logging.getLogger(__name__)

# By default glibc gives every large array back to the kernel and asks for it anew: half of the
# processor time of a network in a worker. Kept, its forward and backward pass took 0.47 of it.
# By the numbers of malloc.h: M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_ARENA_MAX, else every
# thread keeps its own.
_MALLOPT = {-3: 2**31 - 1, -1: 2**31 - 1, -8: 2}
# A worker computes in a thread, whose arena holds no array of 64 MiB, and each of its arenas
# grows to what any thread ever needed. One for all took 0.70 to 0.75 of the processor time and
# 0.74 to 0.79 of the memory on tiles of 512 px. glibc reads this as a process starts; what
# ``env`` of a cluster names comes later.
_ONE_ARENA = {"distributed.nanny.pre-spawn-environ.MALLOC_ARENA_MAX": 1}


@contextmanager
def open_executor(compute: ComputeRecipe) -> Iterator[Executor]:
    """Open the executor that a recipe computes with, and close it behind the flow."""
    threads = n_threads(compute)
    logging.getLogger("distributed").setLevel(logging.WARNING)  # it logs every connection
    log.info("computing on %s", describe_compute(compute))
    configure_malloc()
    if compute.scheduler is not None:
        with connect(compute.scheduler) as client:
            log.info("planned for %s", query_scheduler(client, compute))
            set_num_threads(local_threads(compute))
            _register_plugin(client, ThreadSettings(threads))
            yield DaskExecutor(client, StallWatchdog(client, REMOTE_STALL_S))
    elif compute.workers == 0:
        set_num_threads(local_threads(compute))
        yield SerialExecutor()
    else:
        resolve_workers(compute)  # refuses before anything starts
        # Else batches would pass through the scheduler: streams were up to half as fast.
        with (
            _local_cluster(compute, threads) as cluster,
            Client(cluster, direct_to_workers=True) as client,
        ):
            set_num_threads(local_threads(compute))  # starting workers has set them to one
            _register_plugin(client, ThreadSettings(threads))
            if compute.device != "cpu":
                _register_plugin(client, GpuResource(compute.workers))
            watch = StallWatchdog(client, LOCAL_STALL_S)
            yield DaskExecutor(client, WorkerSupervisor(cluster, compute.workers, watch))


def _register_plugin(client: Client, plugin: WorkerPlugin) -> None:
    """Let all workers start with a plugin.

    Raises:
        ConnectionError: a worker died meanwhile.
    """
    try:
        client.register_plugin(plugin)
    except CommClosedError as error:
        raise ConnectionError(
            f"a worker died as it started ({error.__class__.__name__}), most likely out of "
            "memory, so nothing was computed; give each more (compute.memory_gb) or start "
            "fewer (compute.workers)"
        ) from error


def describe_compute(compute: ComputeRecipe) -> str:
    """Describe in one line where the work runs; numbers depend on the thread count."""
    threads = pluralize(n_threads(compute), "thread")
    local = f"this process ({pluralize(local_threads(compute), 'thread')})"
    if compute.scheduler is not None:
        return f"{local} and Dask scheduler {compute.scheduler} ({threads} a worker)"
    if compute.workers == 0:
        return local
    worker = f"{threads}, {format_bytes(worker_bytes(compute))}"
    return f"{local} and {pluralize(compute.workers, 'local worker')} ({worker} each)"


def n_threads(compute: ComputeRecipe) -> int:
    """Count the threads of one worker's arithmetic, so that all workers share the cores.

    The cores of this machine say nothing of workers elsewhere, which get one thread.
    """
    if compute.scheduler is not None:
        return compute.threads or 1
    return worker_threads(compute)


def local_threads(compute: ComputeRecipe) -> int:
    """Count the threads of this process's arithmetic.

    It trains while workers read. Threads that wait for a busy core slow all others down, so
    it takes a worker's share and leaves the rest of the cores to the workers.
    """
    return worker_threads(compute)


def set_num_threads(threads: int) -> None:
    """Set the threads of this process's arithmetic, before or after torch was imported."""
    os.environ.update(_thread_settings(threads))
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)


def configure_malloc() -> None:
    """Let this process keep the memory it freed; without glibc nothing happens.

    Streaming to a trainer took about 100 us of processor time a patch instead of 130 us.
    """
    with suppress(OSError, AttributeError):
        allocator = ctypes.CDLL("libc.so.6")
        for setting, value in _MALLOPT.items():
            allocator.mallopt(setting, value)


class ThreadSettings(WorkerPlugin):
    """Set every worker to the same number of threads, and let it keep its memory.

    Sums depend on the threads in the last bit, so a worker that joins later must not differ.
    """

    name = "fixed-threads"

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def setup(self, worker: Worker) -> None:
        """Run on a worker as it starts."""
        set_num_threads(self.threads)
        configure_malloc()
        logging.getLogger("distributed.worker").addFilter(_is_not_heartbeat_error)


class GpuResource(WorkerPlugin):
    """Let as many local workers as there are GPUs offer one each, as the resource ``GPU``.

    Workers of a cluster of its own are started with ``--resources GPU=1`` instead.

    Args:
        n_workers: workers of the local cluster, whose names count from 0.
        gpus: GPUs of this machine; what torch sees by default.
    """

    name = "offers-gpu"

    def __init__(self, n_workers: int, gpus: int | None = None) -> None:
        self.n_workers = n_workers
        self.gpus = gpus

    async def setup(self, worker: Worker) -> None:
        """Run on a worker as it starts."""
        from pipeline.rollout.device import count_gpus  # torch, which an ingest never needs

        gpus = count_gpus() if self.gpus is None else self.gpus
        gpu_index = int(worker.name) % self.n_workers  # a revived worker has a higher name
        if gpu_index < gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = str(gpu_index)  # before CUDA starts here
            await worker.set_resources(**{GPU_RESOURCE: 1})


def _is_not_heartbeat_error(record: logging.LogRecord) -> bool:
    """Leave out the traceback of a worker whose scheduler has closed; the client ended both."""
    return "during heartbeat" not in record.getMessage()


@contextmanager
def _local_cluster(compute: ComputeRecipe, threads: int) -> Iterator[LocalCluster]:
    has_dashboard = importlib.util.find_spec("bokeh") is not None
    with dask.config.set(_ONE_ARENA), _block_signals():
        cluster = LocalCluster(
            n_workers=compute.workers,
            threads_per_worker=1,  # netCDF and GDAL handles are not made for more
            processes=True,
            security=Security(require_encryption=False),  # which is for schedulers elsewhere
            host="127.0.0.1",  # a scheduler runs what it is sent, so nobody else may reach it
            dashboard_address="127.0.0.1:0",  # without one it takes port 8787 of all addresses
            memory_limit=worker_bytes(compute),
            silence_logs=logging.ERROR,
            env=_worker_settings(threads),
        )
    with cluster:
        if has_dashboard:
            log.info("Dask dashboard: %s", cluster.dashboard_link)
        try:
            yield cluster
        finally:
            _kill_workers(cluster)


@contextmanager
def _block_signals() -> Iterator[None]:
    """Hold back what terminals send; threads and processes begun meanwhile never get it.

    Ctrl-C and a closed terminal reach every process of the command, but it is for the flow
    alone to end the workers. What comes meanwhile is heard behind the body.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    # Its start unblocks SIGINT, so that comes after. It would die of a closed terminal, and a
    # second one print tracebacks of what it does not know.
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _kill_workers(cluster: LocalCluster) -> None:
    """End local workers at once, since somebody waits: asked to end, they take seconds.

    Idle ones have nothing to lose; what busy ones wrote is whole, and a rerun goes on from it.
    """
    for nanny in cluster.workers.values():
        nanny.auto_restart = False
        if nanny.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(nanny.pid, signal.SIGKILL)


def _worker_settings(threads: int) -> dict[str, str]:
    """Return the environment of a worker: as few threads as it may use."""
    # Zarr opens ten requests and a thread pool per process by default; workers share one disk.
    zarr = {"ZARR_ASYNC__CONCURRENCY": "4", "ZARR_THREADING__MAX_WORKERS": "2"}
    return _thread_settings(threads) | zarr


def _thread_settings(threads: int) -> dict[str, str]:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return dict.fromkeys(names, str(threads))
