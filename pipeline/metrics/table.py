"""From sums to the table of scores that is printed, plotted and published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from pipeline.metrics.moments import safe_divide
from pipeline.metrics.scores import ErrorSums
from stores.array_types import Float64Array

BASELINES = ("persistence", "climatology", "seasonal_naive")
"""What a forecast must beat to be worth its cost."""
ALL_LEADS = "all"
"""Name of the row over all leads together."""
SCORES = ("bias", "rmse", "mae", "r2", "correlation", "sd_forecast", "sd_truth")


def score_table(
    sums: Mapping[str, ErrorSums], *, units: str, baselines: Sequence[str] = BASELINES
) -> pd.DataFrame:
    """Turn sums into one row per method and lead, and one per method over all leads.

    Columns: method, lead (1, 2, ... or 'all'), n [pixels], the scores [units], and
    ``skill_<baseline>`` = 1 - MSE / MSE of the baseline, for baselines that were scored.

    Args:
        sums: sums of each method, all from the same pixels.
        units: units of the forecast.
        baselines: methods to measure skill against.

    Raises:
        ValueError: the methods were not scored on the same pixels.
    """
    _check_same_pixels(sums)
    scored_baselines = [baseline for baseline in baselines if baseline in sums]
    all_leads = {name: sums_of_method.pooled() for name, sums_of_method in sums.items()}
    blocks = []
    for method in sums:
        per_lead = _block(method, sums, scored_baselines)
        per_lead.insert(1, "lead", np.arange(1, len(per_lead) + 1).astype(object))
        pooled = _block(method, all_leads, scored_baselines)
        pooled.insert(1, "lead", ALL_LEADS)
        blocks += [per_lead, pooled]
    table = pd.concat(blocks, ignore_index=True)
    table["units"] = units
    return table


def _block(method: str, sums: Mapping[str, ErrorSums], baselines: list[str]) -> pd.DataFrame:
    scored = sums[method]
    columns = {"n": scored.n.astype(np.int64)} | {
        name: getattr(scored, name) for name in SCORES
    }
    columns |= {f"skill_{name}": _skill(scored.mse, sums[name].mse) for name in baselines}
    block = pd.DataFrame(columns)
    block.insert(0, "method", method)
    return block


def _skill(mse: Float64Array, baseline_mse: Float64Array) -> Float64Array:
    """Compute the fraction of the baseline's squared error that is gone; NaN if it had none."""
    return 1 - safe_divide(mse, baseline_mse)


def _check_same_pixels(sums: Mapping[str, ErrorSums]) -> None:
    counts = {method: sums_of_method.n for method, sums_of_method in sums.items()}
    first = next(iter(counts), None)
    for method, n in counts.items():
        if first is not None and not np.array_equal(n, counts[first]):
            raise ValueError(
                f"{method} was scored on {n.astype(int).tolist()} pixels per lead but {first} "
                f"on {counts[first].astype(int).tolist()}, so their scores do not compare; "
                "score them together with score_all"
            )
