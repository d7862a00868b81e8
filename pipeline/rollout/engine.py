"""Roll tiles out on workers, pass by pass, and go on where a rerun finds them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.executors import Executor
from pipeline.registry import look_up
from pipeline.rollout.blend import plan_blend
from pipeline.rollout.blocks import plan_blocks
from pipeline.rollout.passes import RolloutPass, TileGroup, ledger_key
from pipeline.rollout.publishing import ledger_of
from pipeline.rollout.request import ForecastRequest
from pipeline.rollout.rollout_plan import RolloutPlan
from pipeline.tiling.tiles import Tile

_MAX_GROUPS_PER_TASK = 8  # enough to pipeline reading, computing and writing


@dataclass(frozen=True, slots=True)
class RolloutProgress:
    """How far a rollout is."""

    done: int
    """Tiles of all passes."""
    total: int
    pixels: int
    """Pixels of all leads that were just written."""


def roll_out(
    request: ForecastRequest,
    plan: RolloutPlan,
    stage: Path,
    *,
    executor: Executor,
    batch: int = 1,
) -> Iterator[RolloutProgress]:
    """Forecast the tiles that are not done yet, and write them into a staged forecast.

    A pass begins when all tiles of the one before are written, since it reads from them. A
    rerun after a crash skips what the ledger of the stage marks as done; tiles are idempotent,
    so one that was being written is simply written again.
    """
    passes = plan_passes(request, plan, stage)
    done = ledger_of(stage).done_keys()
    remaining = [
        [tile for tile in plan.tiles if ledger_key(rollout_pass, tile) not in done]
        for rollout_pass in passes
    ]
    n_done = plan.n_tasks - sum(map(len, remaining))
    yield RolloutProgress(n_done, plan.n_tasks, 0)
    gpu_executor = executor.with_gpu(request.needs_gpu)
    for rollout_pass, tiles in zip(passes, remaining, strict=True):
        tasks = _batch_tasks(tiles, batch, executor.n_workers)
        for groups, pixels in gpu_executor.map_unordered(rollout_pass, tasks):
            n_done += sum(map(len, groups))
            yield RolloutProgress(n_done, plan.n_tasks, pixels)


def plan_passes(request: ForecastRequest, plan: RolloutPlan, stage: Path) -> list[RolloutPass]:
    """List the passes of a rollout, and create the scratch arrays that they need."""
    planners = {"exact": plan_blocks, "blend": plan_blend}
    return look_up(planners, request.mode, "rollout.mode")(request, plan, stage)


def _batch_tasks(
    tiles: Sequence[Tile], batch: int, n_workers: int
) -> list[tuple[TileGroup, ...]]:
    """Batch tiles into tasks of a few groups, so that every worker gets several tasks."""
    groups = [tuple(tiles[i : i + batch]) for i in range(0, len(tiles), batch)]
    size = max(1, min(_MAX_GROUPS_PER_TASK, len(groups) // (4 * n_workers)))
    return [tuple(groups[i : i + size]) for i in range(0, len(groups), size)]
