"""An alarm for forecasts that fade: small errors may hide that they tell nothing."""

from __future__ import annotations

import numpy as np

from pipeline.metrics.lead_names import format_leads
from pipeline.metrics.moments import safe_divide
from pipeline.metrics.scores import ErrorSums
from stores.array_types import BoolArray

_STILL_RATIO = 0.1  # a forecast that moves less than a tenth as much as the truth stands still
_FADED_RATIO = (
    0.5  # fraction of its first spread that a fading forecast has left at the last lead
)
_RECOVERY_RATIO = 0.02  # a spread that grows by more from one lead to the next is not fading


def collapse_alarm(sums: ErrorSums, *, units: str, min_spread_ratio: float = 0.5) -> list[str]:
    """List at which leads a forecast is much flatter than the truth, or has stopped moving.

    Args:
        sums: sums of one method over many pixels and, better, many issues.
        units: units of the forecast.
        min_spread_ratio: alarm when the forecast's spread over the truth's is below this.

    Returns:
        Messages for people; none when the forecast keeps its spread.
    """
    if not 0 < min_spread_ratio <= 1:
        raise ValueError(
            f"min_spread_ratio={min_spread_ratio} is no fraction of the truth's spread, so the "
            "alarm would always or never ring; choose one above 0 and at most 1"
        )
    return [*_flat(sums, units, min_spread_ratio), *_fading(sums, units), *_still(sums, units)]


def _flat(sums: ErrorSums, units: str, ratio_limit: float) -> list[str]:
    """List an alarm where the forecast's spread is small beside the truth's."""
    ratio = safe_divide(sums.sd_forecast, sums.sd_truth)  # NaN without a truth: no alarm
    is_low = ratio < ratio_limit
    if not is_low.any():
        return []
    worst = int(np.nanargmin(ratio))
    return [
        f"The forecast is too flat at {_leads(is_low)}: at lead {worst + 1} its spread is "
        f"{sums.sd_forecast[worst]:.3g} {units} where the truth's is "
        f"{sums.sd_truth[worst]:.3g} {units} ({ratio[worst]:.0%}, "
        f"alarm below {ratio_limit:.0%}), so highs and lows are understated; do not "
        "read extremes from these maps, and train longer, on more leads, or with less dropout."
    ]


def _fading(sums: ErrorSums, units: str) -> list[str]:
    """List an alarm when the spread halves from first to last lead and never recovers."""
    all_ratios = safe_divide(sums.sd_forecast, sums.sd_truth)
    ratio = all_ratios[np.isfinite(all_ratios)]
    if len(ratio) < 3 or ratio[-1] > _FADED_RATIO * ratio[0]:
        return []
    if np.diff(ratio).max() > _RECOVERY_RATIO:
        return []
    sd = sums.sd_forecast[np.isfinite(sums.sd_forecast)]
    return [
        f"The forecast fades: its spread falls from {sd[0]:.3g} {units} ({ratio[0]:.0%} of the "
        f"truth's) at the first lead to {sd[-1]:.3g} {units} ({ratio[-1]:.0%}) at the last, so "
        "late leads are close to one value everywhere; publish fewer leads or train on rolled-"
        "out leads."
    ]


def _still(sums: ErrorSums, units: str) -> list[str]:
    """List an alarm when maps of neighboring leads are the same though the truth moves."""
    with np.errstate(invalid="ignore", divide="ignore"):
        forecast = np.sqrt(sums.forecast_change / sums.n_changes)
        truth = np.sqrt(sums.truth_change / sums.n_changes)
    is_still = safe_divide(forecast, truth) < _STILL_RATIO
    if not is_still.any():
        return []
    last = int(np.flatnonzero(is_still)[-1])
    return [
        f"The forecast stands still at {_leads(is_still)}: from lead {last} to {last + 1} it "
        f"changes by {forecast[last]:.3g} {units} where the truth changes by "
        f"{truth[last]:.3g} {units} (root mean square), so it has run into a fixed point and "
        "later maps repeat earlier ones; publish fewer leads or train on rolled-out leads."
    ]


def _leads(is_flagged: BoolArray) -> str:
    return format_leads(int(index) + 1 for index in np.flatnonzero(is_flagged))
