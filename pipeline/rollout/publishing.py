"""From what tiles computed to what stands in the staged forecast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.rollout.forecaster import Forecaster
from pipeline.rollout.plan import Block
from pipeline.rollout.products import make_products
from pipeline.rollout.request import Request
from pipeline.streams.transforms import Values
from pipeline.tiling.plan import Tile
from stores.bundle import Bundle
from stores.discard import discard
from stores.forecast import BUNDLE_ATTRIBUTES, MEMBERS, write_domain, write_forecast
from stores.issue import LEDGER
from stores.ledger import Ledger
from stores.scratch import scratch_of


def ledger_of(stage: Path) -> Ledger:
    """Open the ledger beside a staged issue; it is not published."""
    return Ledger(stage.with_name(LEDGER))


def forget_progress(stage: Path) -> None:
    """Remove what lies beside a staged issue: the ledger first, so that it promises nothing."""
    discard(ledger_of(stage).folder)
    discard(scratch_of(stage))


def describe_bundles(bundles: Sequence[Bundle], request: Request) -> dict[str, Any]:
    """Name every model of a forecast in its attributes, in the order members are dealt."""
    return {
        **{
            attribute: [describe_bundle(bundle)[word] for bundle in bundles]
            for word, attribute in BUNDLE_ATTRIBUTES.items()
        },
        MEMBERS: request.members.n,
    }


def describe_bundle(bundle: Bundle) -> dict[str, Any]:
    """Say which model a bundle is: its folder, digest, family, size and epoch."""
    training = bundle.description["training"]
    return {
        "folder": bundle.path.name,
        "digest": bundle.digest,
        "family": bundle.description["network"]["family"],
        **{word: training[word] for word in ("parameters", "best_epoch", "epochs")},
    }


def show_bundle(said: Mapping[str, Any]) -> str:
    """Write for people what ``describe_bundle`` says."""
    return (
        f"{said['folder']}: {said['family']}, {said['parameters']} parameters, "
        f"epoch {said['best_epoch']} of {said['epochs']}"
    )


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
