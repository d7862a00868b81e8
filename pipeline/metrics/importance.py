"""How much worse forecasts become without one covariate, against how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline.metrics.moments import safe_divide
from pipeline.metrics.scores import ErrorSums
from pipeline.metrics.table import ALL_LEADS
from stores.array_types import Float64Array

HISTORY = "history"
"""Name of the row of the target's own past frames."""


@dataclass(frozen=True, slots=True, eq=False)
class PermutationSums:
    """Errors of some forecasts as they are and with one covariate permuted; merged with ``+``.

    All are sums over the same pixels.
    """

    unpermuted: ErrorSums
    permuted: Mapping[str, tuple[ErrorSums, ...]]
    """By covariate; one a repeat."""

    def __add__(self, other: PermutationSums) -> PermutationSums:
        permuted = {
            name: tuple(a + b for a, b in zip(sums, other.permuted[name], strict=True))
            for name, sums in self.permuted.items()
        }
        return PermutationSums(self.unpermuted + other.unpermuted, permuted)

    def pooled(self) -> PermutationSums:
        """Merge all leads into one."""
        permuted = {
            name: tuple(repeat.pooled() for repeat in sums)
            for name, sums in self.permuted.items()
        }
        return PermutationSums(self.unpermuted.pooled(), permuted)


def importance_table(sums: PermutationSums, *, units: str) -> pd.DataFrame:
    """Turn sums into one row per covariate and lead, and one over all leads; best first.

    Columns: covariate, lead (1, 2, ... or 'all'), n [pixels], rmse of the forecasts as they are
    [units], importance = MSE with the covariate permuted / MSE without - 1, rmse_rise [units],
    and the standard deviation of both over the repeats.
    """
    leads = np.arange(1, sums.unpermuted.n_leads + 1).astype(object)
    per_lead = _block(sums, leads)
    pooled = _block(sums.pooled(), ALL_LEADS)
    order = pooled.sort_values("importance", ascending=False, kind="stable")["covariate"]
    rows = pd.concat([per_lead, pooled], ignore_index=True)
    blocks = [rows[rows["covariate"] == name] for name in order]
    table: pd.DataFrame = pd.concat(blocks, ignore_index=True)
    table["units"] = units
    return table


def uninformative(table: pd.DataFrame) -> list[str]:
    """List the covariates whose importance over all leads is within one deviation."""
    pooled = table[table["lead"] == ALL_LEADS]
    is_noise = pooled["importance"] <= pooled["importance_sd"]
    return [str(name) for name in pooled.loc[is_noise, "covariate"]]


def _block(sums: PermutationSums, leads: Any) -> pd.DataFrame:
    blocks = []
    for name, repeats in sums.permuted.items():
        plain = sums.unpermuted
        gains = [_relative_increase(repeat.mse, plain.mse) for repeat in repeats]
        gain = np.stack(gains)  # (repeat, lead)
        rise = np.stack([repeat.rmse - plain.rmse for repeat in repeats])  # (repeat, lead)
        columns = {"covariate": name, "lead": leads, "n": plain.n.astype(np.int64)}
        columns |= {"rmse": plain.rmse}
        columns |= {"importance": gain.mean(axis=0), "importance_sd": gain.std(axis=0, ddof=1)}
        columns |= {"rmse_rise": rise.mean(axis=0), "rmse_rise_sd": rise.std(axis=0, ddof=1)}
        blocks.append(pd.DataFrame(columns))
    return pd.concat(blocks, ignore_index=True)


def _relative_increase(mse: Float64Array, plain: Float64Array) -> Float64Array:
    """Compute the fraction by which an error grew (lead,); NaN where there was none."""
    return safe_divide(mse, plain) - 1
