"""Planned memory beside what was measured."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from flows.artifacts import leave_table
from pipeline.budget import MemoryPlan, held_bytes, peak_bytes, reset_peak
from pipeline.spread import Spread
from stores.counting import show_bytes

log = logging.getLogger(__name__)

_ACCURACY = 1.1
"""A plan that is off by less is as good as it can be: libraries differ by version."""


@contextmanager
def measuring(
    key: str, plan: MemoryPlan, spread: Spread, *, here: MemoryPlan | None = None
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
    spread.take_peak()  # what was before does not count
    reset_peak()
    held = held_bytes()
    yield
    own = peak_bytes()
    if here is not None:
        here = replace(here, own_bytes=max(here.own_bytes, held))
    if spread.shares_memory:
        plan = replace(plan, own_bytes=max(plan.own_bytes, held))
    found = [(plan, spread.take_peak())]
    if here is not None:
        found = [*found, (here, own)] if not spread.shares_memory else [(here, own)]
    told = [pair for pair in found if pair[1]]  # nothing was left to do, or others did it
    for planned, measured in told:
        _say(planned, measured)
    if told:
        rows = [_row(*pair) for pair in told]
        leave_table(f"{key}-memory", rows, description=f"Memory of {key}")


def _say(planned: MemoryPlan, measured: int) -> None:
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
        "itself": show_bytes(planned.own_bytes),
        "planned": show_bytes(planned.n_bytes),
        "measured": show_bytes(measured),
    }
