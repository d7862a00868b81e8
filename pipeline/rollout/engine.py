"""Roll tiles out on workers: read, forecast, write what is owned, mark it done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.rollout.forecaster import Request, open_forecaster
from pipeline.spread import Spread
from pipeline.tiling.plan import Tile
from stores.forecast import write_domain, write_forecast
from stores.ledger import Ledger

Group = tuple[Tile, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rollout is."""

    done: int
    total: int
    pixels: int
    """Pixels of all leads that were just written."""


def roll_out(
    request: Request, tiles: list[Tile], stage: Path, *, spread: Spread, batch: int = 1
) -> Iterator[Progress]:
    """Forecast the tiles that are not done yet, and write them into a staged forecast.

    A rerun after a crash skips what the ledger of the stage marks as done; tiles are
    idempotent, so one that was being written is simply written again.
    """
    ledger = ledger_of(stage)
    done = ledger.done()
    left = [tile for tile in tiles if str(tile.owns) not in done]
    n_done = len(tiles) - len(left)
    yield Progress(n_done, len(tiles), 0)
    groups = [tuple(left[i : i + batch]) for i in range(0, len(left), batch)]
    for group, pixels in spread.each(partial(_roll_group, request, stage), groups):
        n_done += len(group)
        yield Progress(n_done, len(tiles), pixels)


def ledger_of(stage: Path) -> Ledger:
    """Open the ledger of a stage; it lies beside it, and is not published."""
    return Ledger(stage.with_name(f"{stage.name}.ledger"))


def _roll_group(request: Request, stage: Path, group: Group) -> int:
    """Forecast a few tiles together; return the pixels written."""
    forecaster = open_forecaster(request.bundle, request.cube, request.device)
    variable, pixels = forecaster.source.stack.target.variable, 0
    ledger = ledger_of(stage)
    for tile, values in zip(group, forecaster.physical(list(group), request), strict=True):
        domain = forecaster.source.domain(tile.owns)
        n_lost = int((~np.isfinite(values) & domain).sum())
        if n_lost:
            raise ValueError(
                f"the forecast of {tile.owns} from {request.init} is not finite at {n_lost} of "
                f"{domain.sum() * request.leads} pixels, so it would be published as gaps; "
                "look at the training curves, and train again with a lower training.lr"
            )
        write_domain(stage, tile.owns, domain)
        write_forecast(stage, variable, tile.owns, values)
        ledger.mark(str(tile.owns), {"pixels": values.size})
        pixels += values.size
    return pixels
