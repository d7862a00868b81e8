"""Roll tiles out on workers, pass by pass, and go on where a rerun finds them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.rollout.blend import plan_blend
from pipeline.rollout.blocks import plan_blocks
from pipeline.rollout.passes import Group, Pass, entry_of
from pipeline.rollout.plan import RolloutPlan
from pipeline.rollout.publishing import ledger_of
from pipeline.rollout.request import Request
from pipeline.spread import Spread
from pipeline.tiling.plan import Tile
from pipeline.words import look_up

_GROUPS = 8  # groups a task at most: enough to overlap reading and writing with computing


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rollout is."""

    done: int
    """Tiles of all passes."""
    total: int
    pixels: int
    """Pixels of all leads that were just written."""


def roll_out(
    request: Request, plan: RolloutPlan, stage: Path, *, spread: Spread, batch: int = 1
) -> Iterator[Progress]:
    """Forecast the tiles that are not done yet, and write them into a staged forecast.

    A pass begins when all tiles of the one before are written, since it reads from them. A
    rerun after a crash skips what the ledger of the stage marks as done; tiles are idempotent,
    so one that was being written is simply written again.
    """
    passes = plan_passes(request, plan, stage)
    done = ledger_of(stage).done()
    left = [[tile for tile in plan.tiles if entry_of(one, tile) not in done] for one in passes]
    n_done = plan.n_tasks - sum(map(len, left))
    yield Progress(n_done, plan.n_tasks, 0)
    for one, tiles in zip(passes, left, strict=True):
        tasks = _cut(tiles, batch, spread.n_workers)
        for groups, pixels in spread.with_gpu(request.on_gpu).each(one, tasks):
            n_done += sum(map(len, groups))
            yield Progress(n_done, plan.n_tasks, pixels)


def plan_passes(request: Request, plan: RolloutPlan, stage: Path) -> list[Pass]:
    """List the passes of a rollout, and make the room they need beside the stage."""
    planned = look_up({"exact": plan_blocks, "blend": plan_blend}, request.mode, "rollout.mode")
    return planned(request, plan, stage)


def _cut(tiles: Sequence[Tile], batch: int, n_workers: int) -> list[tuple[Group, ...]]:
    """Cut tiles into tasks of a few groups, so that every worker gets several tasks."""
    groups = [tuple(tiles[i : i + batch]) for i in range(0, len(tiles), batch)]
    size = max(1, min(_GROUPS, len(groups) // (4 * n_workers)))
    return [tuple(groups[i : i + size]) for i in range(0, len(groups), size)]
