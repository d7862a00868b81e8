"""What is published of a rollout: one forecast, or the statistics of an ensemble."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.metrics.calibration import Calibration
from pipeline.metrics.ensemble import summarize
from pipeline.rollout.request import Request
from pipeline.streams.transforms import Values

QUANTILES = (0.1, 0.5, 0.9)

Restore = Callable[[Values], Values]


@dataclass(frozen=True, slots=True)
class Product:
    """One published variable: its ending, and how it is described."""

    suffix: str
    words: str = ""
    """What stands before the name of the target."""
    attributes: Mapping[str, Any] = field(default_factory=dict)


def list_products(request: Request) -> tuple[Product, ...]:
    """List what a request publishes; the first one bears the target's own name."""
    products = [Product("")]
    if request.members.n > 1:
        n = {"ensemble_members": request.members.n}
        mean = Product("", "mean of ", n | {"cell_methods": "realization: mean"})
        spread = n | {"cell_methods": "realization: standard_deviation"}
        quantiles = [
            Product(_suffix(q), f"{q:.0%} quantile of ", n | {"quantile": q}) for q in QUANTILES
        ]
        products = [mean, Product("_sd", "standard deviation of ", spread), *quantiles]
    return (*products, *_bounds(request.calibration))


def _bounds(calibration: Calibration | None) -> list[Product]:
    if calibration is None:
        return []
    stated = {
        "coverage": calibration.level,
        "method": f"split-conformal per lead, calibrated on {calibration.part}",
    }
    share = f"{calibration.level:.0%}"
    return [
        Product("_lower", f"lower bound of the {share} interval of ", stated),
        Product("_upper", f"upper bound of the {share} interval of ", stated),
    ]


def make_products(
    members: Values, restore: Restore, request: Request, *, first: int = 0
) -> dict[str, Values]:
    """Make every product of a tile, by suffix (leads, y, x), in physical units.

    Args:
        members: normalized forecasts (m, leads, y, x).
        restore: brings frames (leads, y, x) to physical units.
        request: the forecast they belong to.
        first: place of the first lead among those of the request, from 0.
    """
    physical = np.stack([restore(member) for member in members])
    made = {"": physical[0]}
    if len(members) > 1:
        found = summarize(physical, QUANTILES)
        quantiles = zip(map(_suffix, QUANTILES), found.quantiles, strict=True)
        made = {"": found.mean, "_sd": found.std} | dict(quantiles)
    if request.calibration is not None:
        lower, upper = calibrated(members, request.calibration, first=first)
        made |= {"_lower": restore(lower), "_upper": restore(upper)}
    return made


def spanned(members: Values, level: float) -> tuple[Values, Values]:
    """Give the interval that members (m, leads, y, x) span, before it is calibrated.

    One forecast alone is an interval without width.
    """
    tail = (1 - level) / 2
    lower, upper = np.quantile(members, (tail, 1 - tail), axis=0).astype(np.float32)
    return lower, upper


def calibrated(
    members: Values, calibration: Calibration, *, first: int = 0
) -> tuple[Values, Values]:
    """Widen what members span by the margins of their leads (leads, y, x), normalized.

    Where a negative margin would make the ends cross they meet in the middle.

    Source: Romano, Patterson and Candes (2019), eq. 7.
    """
    leads = slice(first, first + members.shape[1])
    margins = np.array(calibration.margins[leads], dtype=np.float32)[:, None, None]
    lower, upper = spanned(members, calibration.level)
    middle = (lower + upper) / 2
    return np.minimum(lower - margins, middle), np.maximum(upper + margins, middle)


def mean_of(members: Values) -> Values:
    """Average members (m, leads, y, x); summed in double precision."""
    mean: Values = members.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def _suffix(quantile: float) -> str:
    return f"_q{round(100 * quantile):02d}"
