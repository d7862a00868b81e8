"""What is published of a rollout: one forecast, its quantiles, or statistics of an ensemble."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pipeline.metrics.ensemble import summarize_members
from pipeline.models.quantiles import MEDIAN
from pipeline.rollout.request import ForecastRequest
from stores.array_types import Float32Array

QUANTILES = (0.1, 0.5, 0.9)
"""Published of an ensemble."""
LOWER = "_lower"
UPPER = "_upper"
_GIVEN_MEDIANS = (
    "a quantile of this frame given the medians of the leads before it: what grows uncertain "
    "through the rollout is not in it, so later leads may be surer than they are right; only "
    "calibrated intervals (_lower, _upper) answer for their coverage"
)
_MARGINS = (
    "what the forecast spans, adjusted at each lead by its margin [normalized units]: above 0 "
    "both ends move outward; below 0, where forecasts spanned too much, they move inward"
)

InverseTransform = Callable[[Float32Array], Float32Array]


@dataclass(frozen=True, slots=True)
class Product:
    """One published variable: its suffix, and how it is described."""

    suffix: str
    prefix: str = ""
    """Text before the long_name of the target."""
    attributes: Mapping[str, Any] = field(default_factory=dict)


def list_products(request: ForecastRequest) -> tuple[Product, ...]:
    """List what a request publishes; the first one bears the target's own name."""
    products = [Product("")]
    if request.members.n > 1:
        members = {"ensemble_members": request.members.n}
        of_mean = members | {"cell_methods": "realization: mean"}
        of_std = members | {"cell_methods": "realization: standard_deviation"}
        products = [
            Product("", "mean of ", of_mean),
            Product("_sd", "standard deviation of ", of_std),
            *(_quantile(q, members) for q in QUANTILES),
        ]
    if request.quantiles:
        others = [q for q in request.quantiles if q != MEDIAN]
        products = [_quantile(q, {"comment": _GIVEN_MEDIANS}) for q in (MEDIAN, *others)]
        products[0] = replace(products[0], suffix="", prefix="median of ")
    return (*products, *_bounds(request))


def count_products(n_members: int, quantiles: Sequence[float], *, has_interval: bool) -> int:
    """Count what ``list_products`` lists, before there is a model to request it of."""
    given = len(quantiles) or (1 if n_members == 1 else 2 + len(QUANTILES))
    return given + 2 * has_interval


def _quantile(quantile: float, attributes: Mapping[str, Any]) -> Product:
    prefix = f"{100 * quantile:.10g}% quantile of "
    return Product(suffix_of(quantile), prefix, {**attributes, "quantile": quantile})


def _bounds(request: ForecastRequest) -> list[Product]:
    calibration = request.calibration
    if calibration is None:
        return []
    method = "conformalized quantile regression" if request.quantiles else "split-conformal"
    attributes = {
        "coverage": calibration.level,
        "method": f"{method}: margins per lead, learned on {calibration.describe_source}",
        "margins": list(calibration.margins[: request.leads]),
        "comment": _MARGINS,
    }
    level_text = f"{calibration.level:.0%}"
    return [
        Product(LOWER, f"lower bound of the {level_text} interval of ", attributes),
        Product(UPPER, f"upper bound of the {level_text} interval of ", attributes),
    ]


def make_products(
    outputs: Float32Array,
    restore: InverseTransform,
    request: ForecastRequest,
    *,
    first: int = 0,
) -> dict[str, Float32Array]:
    """Compute every product of a tile, by suffix (leads, y, x), in physical units.

    Args:
        outputs: normalized members or quantiles (m, leads, y, x).
        restore: brings frames (leads, y, x) to physical units.
        request: the forecast they belong to.
        first: index of the first lead among those of the request.
    """
    physical = np.stack([restore(output) for output in outputs])  # (m, leads, y, x)
    products = {"": physical[request.central_index]}
    if request.members.n > 1:
        summary = summarize_members(physical, QUANTILES)
        products = {"": summary.mean, "_sd": summary.std}
        products |= _by_suffix(QUANTILES, summary.quantiles)
    if request.quantiles:
        by_suffix = _by_suffix(request.quantiles, physical)
        products = {"": by_suffix.pop(suffix_of(MEDIAN))} | by_suffix
    if request.calibration is not None:
        lower, upper = conformal_interval(outputs, request, first=first)
        products |= {LOWER: restore(lower), UPPER: restore(upper)}
    return products


def quantiles_of(
    products: Mapping[str, Float32Array], request: ForecastRequest
) -> dict[float, Float32Array]:
    """Pick the quantiles among the products of a tile (leads, y, x); none of a single value."""
    quantiles = QUANTILES if request.members.n > 1 else request.quantiles
    return {q: products.get(suffix_of(q), products[""]) for q in quantiles}


def raw_interval(
    outputs: Float32Array, request: ForecastRequest, level: float
) -> tuple[Float32Array, Float32Array]:
    """Return the interval (leads, y, x) that a forecast (m, leads, y, x) spans, uncalibrated.

    Members span their own quantiles, quantiles the outer ones of them, whatever these are. One
    forecast alone is an interval without width.
    """
    if request.quantiles:
        return outputs[0], outputs[-1]
    tail = (1 - level) / 2
    lower, upper = np.quantile(outputs, (tail, 1 - tail), axis=0).astype(np.float32)
    return lower, upper


def conformal_interval(
    outputs: Float32Array, request: ForecastRequest, *, first: int = 0
) -> tuple[Float32Array, Float32Array]:
    """Compute the interval of a forecast (m, leads, y, x) moved by the margins of its leads.

    Its ends are (leads, y, x), normalized.

    A margin above 0 widens, one below 0 narrows. Where the ends would cross they meet in the
    middle; at the median where there is one, which therefore always lies between them.

    Source: Romano, Patterson and Candes (2019), eq. 7.
    """
    calibration = request.calibration
    assert calibration is not None
    leads = slice(first, first + outputs.shape[1])
    margins = np.array(calibration.margins[leads], dtype=np.float32)[:, None, None]
    lower, upper = raw_interval(outputs, request, calibration.level)
    middle = outputs[request.central_index] if request.quantiles else (lower + upper) / 2
    return np.minimum(lower - margins, middle), np.maximum(upper + margins, middle)


def point_forecast(outputs: Float32Array, request: ForecastRequest) -> Float32Array:
    """Return the median of a forecast (m, leads, y, x), or the mean of members (leads, y, x).

    Summed in double precision.
    """
    center: Float32Array = outputs[request.central_index]
    if request.quantiles:
        return center
    mean: Float32Array = outputs.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def feedback(outputs: Float32Array, request: ForecastRequest) -> Float32Array:
    """Return what later leads read (m, leads, y, x): all members, or the median alone."""
    return outputs[request.central_index, None] if request.quantiles else outputs


def _by_suffix(quantiles: Sequence[float], outputs: Float32Array) -> dict[str, Float32Array]:
    return dict(zip(map(suffix_of, quantiles), outputs, strict=True))


def suffix_of(quantile: float) -> str:
    """Return the suffix of a quantile, its percentage: 0.1 is _q10 and 0.025 is _q02p5."""
    whole, _, decimals = f"{100 * quantile:.10g}".partition(".")
    return f"_q{whole:0>2}p{decimals}" if decimals else f"_q{whole:0>2}"
