"""Write what tiles computed into the staged forecast, and describe its bundles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.rollout.forecaster import Forecaster
from pipeline.rollout.products import make_products
from pipeline.rollout.request import ForecastRequest
from pipeline.rollout.rollout_plan import LeadBlock
from pipeline.tiling.tiles import Tile
from stores.array_types import BoolArray, Float32Array
from stores.bundle import Bundle
from stores.forecast import BUNDLE_ATTRIBUTES, MEMBERS, write_domain, write_forecast
from stores.issue import LEDGER
from stores.ledger import Ledger
from stores.removal import remove_tree
from stores.scratch import scratch_path


def ledger_of(stage: Path) -> Ledger:
    """Open the ledger beside a staged issue; it is not published."""
    return Ledger(stage.with_name(LEDGER))


def delete_progress(stage: Path) -> None:
    """Remove what lies beside a staged issue: the ledger first, so that it promises nothing."""
    remove_tree(ledger_of(stage).folder)
    remove_tree(scratch_path(stage))


def describe_bundles(bundles: Sequence[Bundle], request: ForecastRequest) -> dict[str, Any]:
    """List every model of a forecast in its attributes, in the order members are assigned."""
    return {
        **{
            attribute: [describe_bundle(bundle)[key] for bundle in bundles]
            for key, attribute in BUNDLE_ATTRIBUTES.items()
        },
        MEMBERS: request.members.n,
    }


def describe_bundle(bundle: Bundle) -> dict[str, Any]:
    """Describe which model a bundle is: its folder, digest, family, size and epoch."""
    training = bundle.description["training"]
    return {
        "folder": bundle.path.name,
        "digest": bundle.digest,
        "family": bundle.description["network"]["family"],
        **{key: training[key] for key in ("parameters", "best_epoch", "epochs")},
    }


def format_bundle(description: Mapping[str, Any]) -> str:
    """Write for people what ``describe_bundle`` returns."""
    size = f"{description['parameters']} parameters"
    epochs = f"epoch {description['best_epoch']} of {description['epochs']}"
    return f"{description['folder']}: {description['family']}, {size}, {epochs}"


def write_products(
    forecaster: Forecaster,
    request: ForecastRequest,
    stage: Path,
    tile: Tile,
    block: LeadBlock,
    members: Float32Array,
) -> None:
    """Write all products of what a tile owns (m, leads, y, x).

    Raises:
        ValueError: a forecast is not finite.
    """
    domain = forecaster.source.domain(tile.owns)
    restore = forecaster.inverse_transform_of(tile, request, block)
    _check_finite(members, domain, f"{block} of {tile.owns} from {request.init}")
    if block.first == 0:
        write_domain(stage, tile.owns, domain)
    products = make_products(members, restore, request, first=block.first)
    for suffix, values in products.items():
        name = f"{forecaster.source.stack.target.variable}{suffix}"
        write_forecast(stage, name, tile.owns, values, lead=block.first + 1)


def _check_finite(members: Float32Array, domain: BoolArray, what: str) -> None:
    n_lost = int((~np.isfinite(members) & domain).sum())
    if n_lost:
        n_all = int(domain.sum()) * members.shape[0] * members.shape[1]
        raise ValueError(
            f"the forecast of {what} is not finite at {n_lost} of {n_all} pixels, so it would "
            "be published as gaps; look at the training curves, and train again with a lower "
            "training.lr"
        )
