"""Errors of single pixels, and what a pixel counts."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.losses.denominator import denominator


def huber(error: Tensor, delta: float) -> Tensor:
    """Compute half the squared error up to ``delta``, linear beyond (Huber 1964)."""
    absolute = error.abs()
    linear = delta * (absolute - 0.5 * delta)
    return torch.where(absolute <= delta, 0.5 * error.square(), linear)


def masked_error(forecast: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Subtract the truth (b, l, y, x); an invalid pixel has no error and no gradient.

    Errors are masked before a function of them is taken: masked afterwards, the gradient of a
    NaN would be NaN times zero.
    """
    return torch.where(valid, forecast - truth, 0.0)


def valid_mean(values: Tensor, valid: Tensor, weights: Tensor | None = None) -> Tensor:
    """Average values (b, l, y, x) that are zero where invalid; 0 without a valid pixel.

    Weights multiply values and change no count.
    """
    weighted = values if weights is None else torch.where(valid, weights, 0.0) * values
    return weighted.sum() / denominator(valid)


def threshold_weights(truth: Tensor, thresholds: Tensor, factors: Tensor) -> Tensor:
    """Return the factor of the class of each observed value (b, l, y, x).

    Source: the balanced errors of Shi et al. (2017), eq. 3, with any classes.

    Args:
        truth: observed values (b, l, y, x).
        thresholds: lower bounds of classes 1, 2, ... at each pixel (k, b, l, y, x) or (k,).
        factors: factors of classes 0, 1, ... (k + 1,).
    """
    bounds = thresholds.reshape(len(thresholds), *thresholds.shape[1:])
    if bounds.dim() == 1:
        bounds = bounds.reshape(-1, *[1] * truth.dim())
    return factors[(truth >= bounds).sum(dim=0)]
