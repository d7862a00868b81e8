"""Who will compute: workers of this machine as a recipe states them, or of a scheduler."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from dask.system import CPU_COUNT
from distributed import Client
from distributed.security import Security
from distributed.system import MEMORY_LIMIT

from pipeline.memory import USABLE_FRACTION, WORKER_BASE_BYTES, WorkerPool, rss_bytes
from pipeline.rank_group import GPU_RESOURCE
from pipeline.recipes import ComputeRecipe
from stores.formatting import format_bytes, pluralize

log = logging.getLogger(__name__)

_WORKERS_FRACTION = 0.8  # of the memory; the rest stays for the flow itself
_CONNECT_S = 30
_JOIN_S = 30.0  # workers that are started with their scheduler join within seconds
_POLL_S = 0.2

WORKER_START_S = 5.0
"""What local workers cost before they compute: most of it is their imports [s]."""


def pick_compute(compute: ComputeRecipe, seconds: float) -> ComputeRecipe:
    """Choose this process for work that takes less time than starting local workers.

    It keeps the threads of a worker, so the numbers are the same.

    Args:
        compute: what the recipe states.
        seconds: estimate of the work, by one worker [s].
    """
    if compute.scheduler is not None or compute.workers == 0 or seconds >= WORKER_START_S:
        return compute
    log.info(
        "about %.1f s of work, and starting %s takes %g s: none is started",
        seconds,
        pluralize(compute.workers, "worker"),
        WORKER_START_S,
    )
    return compute.replace(workers=0, threads=worker_threads(compute))


def worker_threads(compute: ComputeRecipe) -> int:
    """Count the threads of a local worker's arithmetic, so that all share the cores."""
    return compute.threads or max(1, CPU_COUNT // max(1, compute.workers))


def worker_bytes(compute: ComputeRecipe) -> int:
    """Return the memory limit of one local worker [B]."""
    if compute.memory_gb is not None:
        return int(compute.memory_gb * 1e9)
    return int(MEMORY_LIMIT * _WORKERS_FRACTION / max(1, compute.workers))


def resolve_workers(compute: ComputeRecipe) -> WorkerPool:
    """Return who will compute, and with how much memory: what work is planned for.

    A scheduler is asked which workers it has.

    Raises:
        ConnectionError: the scheduler does not answer, or has no worker.
        ValueError: a worker is full before it has done anything.
    """
    if compute.scheduler is not None:
        with connect(compute.scheduler) as client:
            return query_scheduler(client, compute)
    if compute.workers == 0:  # nobody watches this process, which holds what it holds
        base_bytes = max(WORKER_BASE_BYTES, rss_bytes())
        workers = WorkerPool(1, worker_bytes(compute), base_bytes, source="this process")
    else:
        workers = WorkerPool(compute.workers, worker_bytes(compute), WORKER_BASE_BYTES)
    workers.check()
    return workers


def connect(address: str) -> Client:
    """Connect to a scheduler that runs already, with the certificates of Dask's settings.

    Raises:
        ConnectionError: it does not answer, or not to us.
    """
    security = Security()
    if why := _find_tls_problem(address, security):
        raise ConnectionError(
            f"compute.scheduler={address!r} cannot be reached with Dask's settings for TLS: "
            f"{why}; docs/operations.md says which there are, and what each side needs"
        )
    try:
        return Client(address, timeout=_CONNECT_S, security=security)
    except ValueError as error:
        raise ConnectionError(
            f"compute.scheduler={address!r} is no address ({error}), so there is nowhere to "
            "compute; write one such as tcp://head:8786"
        ) from None
    except (OSError, TimeoutError) as error:
        raise ConnectionError(
            f"compute.scheduler={address!r} did not answer within {_CONNECT_S} s ({error}), so "
            "there is nowhere to compute; start it, or leave compute.scheduler out for local "
            "workers"
        ) from None


def _find_tls_problem(address: str, security: Security) -> str:
    """Return why a connection would be refused on this side; "" where it would not."""
    is_tls = address.startswith("tls://")
    if security.require_encryption and not is_tls:
        return "distributed.comm.require-encryption is set, and this address is not encrypted"
    if is_tls and security.get_connection_args("client")["ssl_context"] is None:
        return (
            "distributed.comm.tls names no authority (ca-file) or no certificate (client.cert)"
        )
    return ""


def query_scheduler(client: Client, compute: ComputeRecipe) -> WorkerPool:
    """Ask a scheduler for its workers: the weakest of them says what each may take.

    Raises:
        ConnectionError: it has none.
        ValueError: a worker states no limit, and neither does the recipe.
    """
    found = _wait_for_workers(client, str(compute.scheduler))
    limits = [_worker_limit(address, worker, compute) for address, worker in found.items()]
    workers = WorkerPool(
        n_workers=len(found),
        n_bytes=min(limits),
        base_bytes=WORKER_BASE_BYTES,
        threads=max(int(worker["nthreads"]) for worker in found.values()),
        source=str(compute.scheduler),
        gpus=sum(bool(worker["resources"].get(GPU_RESOURCE)) for worker in found.values()),
    )
    workers.check()
    return workers


def _wait_for_workers(client: Client, address: str) -> Mapping[str, Any]:
    """Wait for the first worker."""
    end = time.monotonic() + _JOIN_S
    while time.monotonic() < end:
        # without n_workers it names the first five alone
        workers: Mapping[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
        if workers:
            return workers
        time.sleep(_POLL_S)
    raise ConnectionError(
        f"compute.scheduler={address!r} has no worker after {_JOIN_S:g} s, so "
        "nothing would ever be computed; start some with 'dask worker ADDRESS --nthreads 1 "
        "--memory-limit 4GB'"
    )


def _worker_limit(address: str, worker: Mapping[str, Any], compute: ComputeRecipe) -> int:
    """Return the memory of a worker: its own limit, or a lower one of the recipe [B]."""
    limit = int(worker["memory_limit"] or 0)
    stated = worker_bytes(compute) if compute.memory_gb is not None else 0
    if not limit and not stated:
        raise ValueError(
            f"worker {address} has no memory limit, so nobody knows what a task may take; "
            "start it with --memory-limit, or set compute.memory_gb"
        )
    return min(filter(None, (limit, stated)))


def find_stalled(workers: Mapping[str, Any]) -> str:
    """Return why workers will never do another task; empty where one may.

    A worker that holds too much of its limit takes no task until it holds less. When it
    computes nothing, it never will.
    """
    if not workers:
        return "no worker is left"
    waiting = [
        worker
        for worker in workers.values()
        if worker["status"] == "paused" and not worker["metrics"].get("executing")
    ]
    if len(waiting) < len(workers):
        return ""
    held = max(int(worker["metrics"]["memory"]) for worker in waiting)
    limit = min(int(worker["memory_limit"]) for worker in waiting)
    return (
        f"all {len(workers)} workers hold up to {format_bytes(held)}, more than the "
        f"{USABLE_FRACTION:.0%} of their limit of {format_bytes(limit)} up to which "
        "Dask hands out tasks"
    )
