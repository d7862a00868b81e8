"""An alarm for forecasts that fade: small errors may hide that nothing is said."""

from __future__ import annotations

import numpy as np

from pipeline.metrics.lead_names import format_leads
from pipeline.metrics.moments import safe_divide
from pipeline.metrics.scores import ErrorSums
from stores.array_types import BoolArray

_STILL = 0.1  # a forecast that moves less than a tenth as much as the truth stands still
_FADED = 0.5  # share of its first spread that a fading forecast has left at the last lead
_RECOVERY = 0.02  # a spread that grows by more from one lead to the next is not fading


def collapse_alarm(sums: ErrorSums, *, units: str, min_spread_ratio: float = 0.5) -> list[str]:
    """Say at which leads a forecast is much flatter than the truth, or has stopped moving.

    Args:
        sums: sums of one method over many pixels and, better, many issues.
        units: units of the forecast.
        share: alarm when the forecast's spread is below this share of the truth's.

    Returns:
        Messages for people; none when the forecast keeps its spread.
    """
    if not 0 < min_spread_ratio <= 1:
        raise ValueError(
            f"share={min_spread_ratio} is no share of the truth's spread, so the alarm would always or "
            "never ring; choose one above 0 and at most 1"
        )
    return [*_flat(sums, units, min_spread_ratio), *_fading(sums, units), *_still(sums, units)]


def _flat(sums: ErrorSums, units: str, share: float) -> list[str]:
    ratio = safe_divide(
        sums.sd_forecast, sums.sd_truth
    )  # NaN, which rings nothing, has no spread
    low = ratio < share
    if not low.any():
        return []
    worst = int(np.nanargmin(ratio))
    return [
        f"The forecast is too flat at {_leads(low)}: at lead {worst + 1} its spread is "
        f"{sums.sd_forecast[worst]:.3g} {units} where the truth's is "
        f"{sums.sd_truth[worst]:.3g} {units} ({ratio[worst]:.0%}, alarm below {share:.0%}), so "
        "highs and lows are understated; do not read extremes from these maps, and train "
        "longer, on more leads, or with less dropout."
    ]


def _fading(sums: ErrorSums, units: str) -> list[str]:
    """Ring when the spread halves from the first lead to the last and never recovers."""
    ratio = safe_divide(sums.sd_forecast, sums.sd_truth)
    ratio = ratio[np.isfinite(ratio)]
    if len(ratio) < 3 or ratio[-1] > _FADED * ratio[0] or np.diff(ratio).max() > _RECOVERY:
        return []
    sd = sums.sd_forecast[np.isfinite(sums.sd_forecast)]
    return [
        f"The forecast fades: its spread falls from {sd[0]:.3g} {units} ({ratio[0]:.0%} of the "
        f"truth's) at the first lead to {sd[-1]:.3g} {units} ({ratio[-1]:.0%}) at the last, so "
        "late leads are close to one value everywhere; publish fewer leads or train on rolled-"
        "out leads."
    ]


def _still(sums: ErrorSums, units: str) -> list[str]:
    """Ring when maps of neighboring leads are the same though the truth moves."""
    with np.errstate(invalid="ignore", divide="ignore"):
        forecast = np.sqrt(sums.forecast_change / sums.n_changes)
        truth = np.sqrt(sums.truth_change / sums.n_changes)
    low = safe_divide(forecast, truth) < _STILL
    if not low.any():
        return []
    last = int(np.flatnonzero(low)[-1])
    return [
        f"The forecast stands still at {_leads(low)}: from lead {last} to {last + 1} it "
        f"changes by {forecast[last]:.3g} {units} where the truth changes by "
        f"{truth[last]:.3g} {units} (root mean square), so it has run into a fixed point and "
        "later maps repeat earlier ones; publish fewer leads or train on rolled-out leads."
    ]


def _leads(low: BoolArray) -> str:
    return format_leads(int(index) + 1 for index in np.flatnonzero(low))
