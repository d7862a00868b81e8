"""Planned memory beside what was measured."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from flows.artifacts import create_table
from pipeline.executors import Executor
from pipeline.memory import MemoryPlan, peak_rss_bytes, reset_peak_rss, rss_bytes
from stores.formatting import format_bytes

log = logging.getLogger(__name__)

_ACCURACY = 1.1
"""A plan that is off by less is as good as it can be: libraries differ by version."""


@contextmanager
def measure_memory(
    key: str, plan: MemoryPlan, executor: Executor, *, local_plan: MemoryPlan | None = None
) -> Iterator[None]:
    """Measure the memory of who computes while the body runs, and log it beside the plan.

    Args:
        key: names the table that the run leaves.
        plan: what a worker was planned to hold.
        executor: the workers.
        local_plan: what this process was planned to hold, where it works as well.

    Without workers, this process does what they would. What it held before counts as its own:
    it has done other work, which a worker has not.
    """
    executor.pop_peak_bytes()  # what was before does not count
    reset_peak_rss()
    held = rss_bytes()
    yield
    peak = peak_rss_bytes()
    local = [] if local_plan is None else [(_including(local_plan, held), peak)]
    if executor.shares_memory:
        pairs = local or [(_including(plan, held), executor.pop_peak_bytes())]
    else:
        pairs = [(plan, executor.pop_peak_bytes()), *local]
    # Nothing was left to do, or others did it, where nothing was measured.
    measured_pairs = [pair for pair in pairs if pair[1]]
    for planned, measured in measured_pairs:
        _log_comparison(planned, measured)
    if measured_pairs:
        rows = [_row(*pair) for pair in measured_pairs]
        create_table(f"{key}-memory", rows, description=f"Memory of {key}")


def _including(plan: MemoryPlan, held: int) -> MemoryPlan:
    """Count what the process held before as its own [B]."""
    return replace(plan, own_bytes=max(plan.own_bytes, held))


def _log_comparison(planned: MemoryPlan, measured: int) -> None:
    if measured <= _ACCURACY * planned.n_bytes:
        log.info("%s", planned.compare(measured))
        return
    log.warning(
        "%s: more than was planned, so a worker whose memory just holds the plan would be "
        "killed; leave room in compute.memory_gb, or take smaller tiles or patches",
        planned.compare(measured),
    )


def _row(planned: MemoryPlan, measured: int) -> dict[str, str]:
    return {
        "process": planned.process,
        "task": planned.task,
        "itself": format_bytes(planned.own_bytes),
        "planned": format_bytes(planned.n_bytes),
        "measured": format_bytes(measured),
    }
