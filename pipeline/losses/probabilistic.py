"""Losses of probabilistic forecasts: quantiles and ensembles."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.losses.point import valid_mean


def pinball(
    forecast: Tensor,
    truth: Tensor,
    valid: Tensor,
    weights: Tensor | None = None,
    *,
    quantiles: Sequence[float],
) -> Tensor:
    """Average the pinball loss over quantiles and valid pixels.

    Source: Koenker and Bassett (1978).

    Args:
        forecast: one value per quantile (q, b, l, y, x).
        truth: observed values (b, l, y, x).
        valid: where they are usable (b, l, y, x).
        weights: of the pixels (b, l, y, x).
        quantiles: which quantiles, each between 0 and 1.

    Raises:
        ValueError: there are not as many forecasts as quantiles.
    """
    if len(forecast) != len(quantiles):
        raise ValueError(
            f"forecast holds {len(forecast)} values a pixel for {len(quantiles)} quantiles, so "
            "they cannot be matched; give one per quantile"
        )
    error = torch.where(valid, truth - forecast, 0.0)  # (q, b, l, y, x)
    q = error.new_tensor(list(quantiles)).reshape(-1, *[1] * truth.dim())
    cost = torch.maximum(q * error, (q - 1) * error).mean(dim=0)
    return valid_mean(cost, valid, weights)


def crps(
    forecast: Tensor, truth: Tensor, valid: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Average the fair continuous ranked probability score of an ensemble over valid pixels.

    Source: Ferro (2014), eq. 3: differences of members are averaged over pairs of different
    ones, so the score does not favor few members. Sorted members give the sum over all pairs
    in m log m.

    Args:
        forecast: members (m, b, l, y, x).
        truth: observed values (b, l, y, x).
        valid: where they are usable (b, l, y, x).
        weights: of the pixels (b, l, y, x).

    Raises:
        ValueError: there are fewer than two members.
    """
    m = len(forecast)
    if m < 2:
        raise ValueError(
            f"an ensemble of {m} has no spread, so it has no fair score; give two "
            "members or more"
        )
    members = torch.where(valid, forecast, 0.0)  # (m, b, l, y, x)
    observed = torch.where(valid, truth, 0.0)
    ranks = torch.arange(m, dtype=members.dtype, device=members.device)
    factors = (2 * ranks - m + 1).reshape(-1, *[1] * truth.dim())  # (m, 1, 1, 1, 1)
    absolute_error = (members - observed).abs().mean(dim=0)
    half_difference = (factors * members.sort(dim=0).values).sum(dim=0) / (m * (m - 1))
    return valid_mean(absolute_error - half_difference, valid, weights)
