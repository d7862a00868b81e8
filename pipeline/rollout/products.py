"""What is published of a rollout: one forecast, its quantiles, or statistics of an ensemble."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pipeline.metrics.ensemble import summarize
from pipeline.models.quantiles import MEDIAN
from pipeline.rollout.request import Request
from pipeline.streams.transforms import Values

QUANTILES = (0.1, 0.5, 0.9)
"""Published of an ensemble."""
LOWER, UPPER = "_lower", "_upper"
_GIVEN_MEDIANS = (
    "a quantile of this frame given the medians of the leads before it: what grows uncertain "
    "through the rollout is not in it, so later leads may be surer than they are right; only "
    "calibrated intervals (_lower, _upper) answer for their coverage"
)
_MARGINS = (
    "what the forecast spans, adjusted at each lead by its margin [normalized units]: above 0 "
    "both ends move outward; below 0, where forecasts spanned too much, they move inward"
)

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
        deviation = Product("_sd", "standard deviation of ", spread)
        products = [mean, deviation, *(_quantile(q, n) for q in QUANTILES)]
    if request.quantiles:
        others = [q for q in request.quantiles if q != MEDIAN]
        products = [_quantile(q, {"comment": _GIVEN_MEDIANS}) for q in (MEDIAN, *others)]
        products[0] = replace(products[0], suffix="", words="median of ")
    return (*products, *_bounds(request))


def count_products(n_members: int, quantiles: Sequence[float], *, has_interval: bool) -> int:
    """Count what ``list_products`` lists, before there is a model to request it of."""
    given = len(quantiles) or (1 if n_members == 1 else 2 + len(QUANTILES))
    return given + 2 * has_interval


def _quantile(quantile: float, attributes: Mapping[str, Any]) -> Product:
    stated = {**attributes, "quantile": quantile}
    return Product(suffix_of(quantile), f"{100 * quantile:.10g}% quantile of ", stated)


def _bounds(request: Request) -> list[Product]:
    calibration = request.calibration
    if calibration is None:
        return []
    method = "conformalized quantile regression" if request.quantiles else "split-conformal"
    stated = {
        "coverage": calibration.level,
        "method": f"{method}: margins per lead, learned on {calibration.origin}",
        "margins": list(calibration.margins[: request.leads]),
        "comment": _MARGINS,
    }
    share = f"{calibration.level:.0%}"
    return [
        Product(LOWER, f"lower bound of the {share} interval of ", stated),
        Product(UPPER, f"upper bound of the {share} interval of ", stated),
    ]


def make_products(
    fields: Values, restore: Restore, request: Request, *, first: int = 0
) -> dict[str, Values]:
    """Make every product of a tile, by suffix (leads, y, x), in physical units.

    Args:
        fields: normalized members or quantiles (m, leads, y, x).
        restore: brings frames (leads, y, x) to physical units.
        request: the forecast they belong to.
        first: place of the first lead among those of the request, from 0.
    """
    physical = np.stack([restore(field) for field in fields])
    made = {"": physical[request.center]}
    if request.members.n > 1:
        found = summarize(physical, QUANTILES)
        made = {"": found.mean, "_sd": found.std} | _by_suffix(QUANTILES, found.quantiles)
    if request.quantiles:
        named = _by_suffix(request.quantiles, physical)
        made = {"": named.pop(suffix_of(MEDIAN))} | named
    if request.calibration is not None:
        lower, upper = calibrated(fields, request, first=first)
        made |= {LOWER: restore(lower), UPPER: restore(upper)}
    return made


def quantiles_of(made: Mapping[str, Values], request: Request) -> dict[float, Values]:
    """Pick the quantiles among the products of a tile (leads, y, x); none of a single value."""
    wanted = QUANTILES if request.members.n > 1 else request.quantiles
    return {q: made.get(suffix_of(q), made[""]) for q in wanted}


def spanned(fields: Values, request: Request, level: float) -> tuple[Values, Values]:
    """Give the interval that a forecast (m, leads, y, x) spans, before it is calibrated.

    Members span their own quantiles, quantiles the outer ones of them, whatever these are. One
    forecast alone is an interval without width.
    """
    if request.quantiles:
        return fields[0], fields[-1]
    tail = (1 - level) / 2
    lower, upper = np.quantile(fields, (tail, 1 - tail), axis=0).astype(np.float32)
    return lower, upper


def calibrated(fields: Values, request: Request, *, first: int = 0) -> tuple[Values, Values]:
    """Adjust what a forecast spans by the margins of its leads (leads, y, x), normalized.

    A margin above 0 widens, one below 0 narrows. Where the ends would cross they meet in the
    middle; at the median where there is one, which therefore always lies between them.

    Source: Romano, Patterson and Candes (2019), eq. 7.
    """
    calibration = request.calibration
    assert calibration is not None
    leads = slice(first, first + fields.shape[1])
    margins = np.array(calibration.margins[leads], dtype=np.float32)[:, None, None]
    lower, upper = spanned(fields, request, calibration.level)
    middle = fields[request.center] if request.quantiles else (lower + upper) / 2
    return np.minimum(lower - margins, middle), np.maximum(upper + margins, middle)


def stands_for(fields: Values, request: Request) -> Values:
    """Give what stands for a forecast (m, leads, y, x): the median, or the mean of members.

    Summed in double precision.
    """
    center: Values = fields[request.center]
    if request.quantiles:
        return center
    mean: Values = fields.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def fed_back(fields: Values, request: Request) -> Values:
    """Give what later leads read (m, leads, y, x): all members, but of quantiles the median."""
    return fields[request.center, None] if request.quantiles else fields


def _by_suffix(quantiles: Sequence[float], fields: Values) -> dict[str, Values]:
    return dict(zip(map(suffix_of, quantiles), fields, strict=True))


def suffix_of(quantile: float) -> str:
    """Name a quantile by its percentage: 0.1 is _q10 and 0.025 is _q02p5."""
    whole, _, part = f"{100 * quantile:.10g}".partition(".")
    return f"_q{whole:0>2}p{part}" if part else f"_q{whole:0>2}"
