"""Roll tiles out on workers, block by block: read, forecast, write what is owned."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.rollout.forecaster import Arrays, Forecaster, Request, open_forecaster
from pipeline.rollout.overlap import overlapped
from pipeline.rollout.plan import Block, RolloutPlan
from pipeline.spread import Spread
from pipeline.streams.transforms import Values
from pipeline.tiling.plan import Tile
from stores.cube import Cube
from stores.forecast import write_domain, write_forecast
from stores.ledger import Ledger
from stores.scratch import create_scratch, read_scratch, write_scratch

log = logging.getLogger(__name__)

Group = tuple[Tile, ...]
"""Tiles that are computed together."""

_GROUPS = 8  # groups a task at most: enough to overlap reading and writing with computing


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rollout is."""

    done: int
    """Tiles of all blocks."""
    total: int
    pixels: int
    """Pixels of all leads that were just written."""


@dataclass(frozen=True, slots=True)
class Job:
    """What workers need to roll tiles of one block."""

    request: Request
    stage: Path
    block: Block
    is_last: bool
    """Whether no later block reads what this one computes."""


def roll_out(
    request: Request, plan: RolloutPlan, stage: Path, *, spread: Spread, batch: int = 1
) -> Iterator[Progress]:
    """Forecast the tiles that are not done yet, and write them into a staged forecast.

    A block begins when all tiles of the one before are written, since it reads its halo from
    them. A rerun after a crash skips what the ledger of the stage marks as done; tiles are
    idempotent, so one that was being written is simply written again.
    """
    if len(plan.blocks) > 1:
        grid = Cube.open(request.cube).grid
        create_scratch(stage, grid, leads=plan.leads, layout=plan.layout)
    done = ledger_of(stage).done()
    jobs = [Job(request, stage, block, block == plan.blocks[-1]) for block in plan.blocks]
    left = [
        [tile for tile in plan.tiles if _entry(job.block, tile) not in done] for job in jobs
    ]
    n_done = plan.n_tasks - sum(map(len, left))
    yield Progress(n_done, plan.n_tasks, 0)
    for job, tiles in zip(jobs, left, strict=True):
        tasks = _cut(tiles, batch, spread.n_workers)
        for groups, pixels in spread.each(partial(_roll_groups, job), tasks):
            n_done += sum(map(len, groups))
            yield Progress(n_done, plan.n_tasks, pixels)


def ledger_of(stage: Path) -> Ledger:
    """Open the ledger of a stage; it lies beside it, and is not published."""
    return Ledger(stage.with_name(f"{stage.name}.ledger"))


def _entry(block: Block, tile: Tile) -> str:
    return f"{block} {tile.owns}"


def _cut(tiles: Sequence[Tile], batch: int, n_workers: int) -> list[tuple[Group, ...]]:
    """Cut tiles into tasks of a few groups, so that every worker gets several tasks."""
    groups = [tuple(tiles[i : i + batch]) for i in range(0, len(tiles), batch)]
    size = max(1, min(_GROUPS, len(groups) // (4 * n_workers)))
    return [tuple(groups[i : i + size]) for i in range(0, len(groups), size)]


def _roll_groups(job: Job, groups: tuple[Group, ...]) -> int:
    """Forecast the groups of one task; return the pixels written."""
    forecaster = open_forecaster(job.request.bundle, job.request.cube, job.request.device)
    receipts = overlapped(
        groups,
        read=partial(_read, forecaster, job),
        compute=lambda group, parts: forecaster.roll(parts, job.block.leads),
        write=partial(_write, forecaster, job),
    )
    return sum(receipts)


def _read(forecaster: Forecaster, job: Job, group: Group) -> list[Arrays]:
    earlier = partial(read_scratch, job.stage)
    return [forecaster.read(tile, job.request, job.block, earlier) for tile in group]


def _write(forecaster: Forecaster, job: Job, group: Group, rolled: Values) -> int:
    """Write what the tiles of a group own, then mark them done; return the pixels written."""
    variable, pixels = forecaster.source.stack.target.variable, 0
    ledger, first = ledger_of(job.stage), job.block.first
    for tile, frames in zip(group, rolled, strict=True):
        owned = frames[:, *tile.kept.slices]
        values = forecaster.restore(tile, owned, job.request, job.block)
        domain = forecaster.source.domain(tile.owns)
        _check_finite(values, domain, f"{job.block} of {tile.owns} from {job.request.init}")
        if first == 0:
            write_domain(job.stage, tile.owns, domain)
        if not job.is_last:
            write_scratch(job.stage, tile.owns, owned, first=first)
        write_forecast(job.stage, variable, tile.owns, values, lead=first + 1)
        ledger.mark(_entry(job.block, tile), {"pixels": values.size})
        pixels += values.size
    return pixels


def _check_finite(values: Values, domain: npt.NDArray[np.bool_], what: str) -> None:
    n_lost = int((~np.isfinite(values) & domain).sum())
    if n_lost:
        raise ValueError(
            f"the forecast of {what} is not finite at {n_lost} of {domain.sum() * len(values)} "
            "pixels, so it would be published as gaps; look at the training curves, and train "
            "again with a lower training.lr"
        )
