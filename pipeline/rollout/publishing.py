"""From what tiles computed to what stands in the staged forecast."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.rollout.forecaster import Forecaster
from pipeline.rollout.plan import Block
from pipeline.rollout.products import make_products
from pipeline.rollout.request import Request
from pipeline.streams.transforms import Values
from pipeline.tiling.plan import Tile
from stores.forecast import write_domain, write_forecast
from stores.ledger import Ledger


def ledger_of(stage: Path) -> Ledger:
    """Open the ledger of a stage; it lies beside it, and is not published."""
    return Ledger(stage.with_name(f"{stage.name}.ledger"))


def write_owned(
    forecaster: Forecaster,
    request: Request,
    stage: Path,
    tile: Tile,
    block: Block,
    members: Values,
) -> None:
    """Write all products of what a tile owns (m, leads, y, x).

    Raises:
        ValueError: a forecast is not finite.
    """
    domain = forecaster.source.domain(tile.owns)
    restore = forecaster.restorer(tile, request, block)
    _check_finite(members, domain, f"{block} of {tile.owns} from {request.init}")
    if block.first == 0:
        write_domain(stage, tile.owns, domain)
    products = make_products(members, restore, request, first=block.first)
    for suffix, values in products.items():
        name = f"{forecaster.source.stack.target.variable}{suffix}"
        write_forecast(stage, name, tile.owns, values, lead=block.first + 1)


def _check_finite(members: Values, domain: npt.NDArray[np.bool_], what: str) -> None:
    n_lost = int((~np.isfinite(members) & domain).sum())
    if n_lost:
        n_all = int(domain.sum()) * members.shape[0] * members.shape[1]
        raise ValueError(
            f"the forecast of {what} is not finite at {n_lost} of {n_all} pixels, so it would "
            "be published as gaps; look at the training curves, and train again with a lower "
            "training.lr"
        )
