"""Runs whose process is gone and that nobody ended: to Prefect they would run for ever.

A worker tells how its runs ended; when it dies with them, nobody does, and their deployment's
only slot stays taken. Heartbeats would tell after minutes, and take a run that waits for the
server for a dead one. Processes of this machine can be looked at instead.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime

import psutil
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

from flows.schedule import POOL

log = logging.getLogger(__name__)

_UNFINISHED = ("PENDING", "RUNNING")
_PAGE = 200
_CLOCK_TOLERANCE_S = (
    60.0  # a process that is younger than its run by more than this is another one
)


def record_pid(run: FlowRun) -> None:
    """Leave on the server which process a run computes in; a worker does so for its own."""
    if run.deployment_id is None and run.infrastructure_pid is None:
        with get_client(sync_client=True) as client:
            client.update_flow_run(
                run.id, infrastructure_pid=f"{socket.gethostname()}:{os.getpid()}"
            )


def mark_lost_runs_crashed(client: SyncPrefectClient, *, no_worker: bool = False) -> list[str]:
    """Mark runs as crashed whose process is gone, which gives their slots back.

    Args:
        client: of the server of this machine.
        no_worker: no worker lives, so what one had taken and not yet started is lost as well.

    Returns:
        The names of these runs.
    """
    lost = [run for run in _unfinished(client) if is_lost(run, no_worker=no_worker)]
    return [run.name for run in lost if _end(client, run)]


def _end(client: SyncPrefectClient, run: FlowRun) -> bool:
    """Mark a run as crashed, unless it ended well just before its process did."""
    with suppress(ObjectNotFound):  # somebody has just deleted it
        now = client.read_flow_run(run.id)
        if now.state is not None and now.state.type in _UNFINISHED:
            why = f"its process {run.infrastructure_pid or 'was never started or'} is gone"
            client.set_flow_run_state(run.id, Crashed(message=f"{why}, and did not say why"))
            log.warning("run %s did not end: %s, so it is marked as crashed", run.name, why)
            return True
    return False


def is_lost(run: FlowRun, *, no_worker: bool = False) -> bool:
    """Check whether the process of a run is certain to be gone."""
    ours = run.work_pool_name == POOL
    if run.infrastructure_pid is None:
        return ours and no_worker
    host, _, pid = run.infrastructure_pid.rpartition(":")
    is_local = host == socket.gethostname() or (ours and not host)  # workers name no host
    return is_local and pid.isdecimal() and not _is_process_alive(int(pid), run.start_time)


def _is_process_alive(pid: int, run_start: datetime | None) -> bool:
    try:
        process = psutil.Process(pid)
        is_older = (
            run_start is None
            or process.create_time() < run_start.timestamp() + _CLOCK_TOLERANCE_S
        )
        return bool(is_older) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _unfinished(client: SyncPrefectClient) -> Iterator[FlowRun]:
    unfinished = FlowRunFilter.model_validate({"state": {"type": {"any_": _UNFINISHED}}})
    offset = 0
    found = client.read_flow_runs(flow_run_filter=unfinished, limit=_PAGE)
    while found:
        yield from found
        offset += len(found)
        found = client.read_flow_runs(flow_run_filter=unfinished, limit=_PAGE, offset=offset)
