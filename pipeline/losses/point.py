"""Errors of single pixels, and what a pixel counts."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.losses.denominator import denominator


def huber(error: Tensor, delta: float) -> Tensor:
    """Half the squared error up to ``delta``, growing linearly beyond (Huber 1964)."""
    size = error.abs()
    return torch.where(size <= delta, 0.5 * error.square(), delta * (size - 0.5 * delta))


def masked_error(forecast: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Subtract the truth; an invalid pixel has no error and no gradient.

    Errors are masked before a function of them is taken: masked afterwards, the gradient of a
    NaN would be NaN times zero.
    """
    return torch.where(valid, forecast - truth, 0.0)


def valid_mean(values: Tensor, valid: Tensor, weights: Tensor | None = None) -> Tensor:
    """Average what is zero outside of ``valid``; a batch without valid pixels gives 0.

    Weights multiply values and change no count.
    """
    if weights is not None:
        values = torch.where(valid, weights, 0.0) * values
    return values.sum() / denominator(valid)


def threshold_weights(truth: Tensor, thresholds: Tensor, factors: Tensor) -> Tensor:
    """Give every pixel the factor of the class of its observed value (b, l, y, x).

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
