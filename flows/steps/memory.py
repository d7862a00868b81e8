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
    """Measure those who compute while the body runs, and say it beside the plan.

    Args:
        key: names the table that the run leaves.
        plan: what a worker was planned to hold.
        spread: the workers.
        here: what this process was planned to hold, where it works as well.

    Without workers, this process does what they would. What it held before counts as its own:
    it has done other work, which a worker has not.
    """
    executor.pop_peak_bytes()  # what was before does not count
    reset_peak_rss()
    held = rss_bytes()
    yield
    own = peak_rss_bytes()
    if local_plan is not None:
        local_plan = replace(local_plan, own_bytes=max(local_plan.own_bytes, held))
    if executor.shares_memory:
        plan = replace(plan, own_bytes=max(plan.own_bytes, held))
    found = [(plan, executor.pop_peak_bytes())]
    if local_plan is not None:
        found = (
            [*found, (local_plan, own)] if not executor.shares_memory else [(local_plan, own)]
        )
    told = [pair for pair in found if pair[1]]  # nothing was left to do, or others did it
    for planned, measured in told:
        _log_comparison(planned, measured)
    if told:
        rows = [_row(*pair) for pair in told]
        create_table(f"{key}-memory", rows, description=f"Memory of {key}")


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
