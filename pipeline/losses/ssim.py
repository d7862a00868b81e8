"""Structural similarity on the windows that hold no invalid pixel."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d

from pipeline.losses.denominator import denominator

_SIGMA_PX = 1.5
_K1 = 0.01
_K2 = 0.03


def ssim(
    forecast: Tensor, truth: Tensor, valid: Tensor, *, data_range: float, window_px: int = 11
) -> Tensor:
    """Compute one minus the mean similarity of frames (b, l, y, x); 0 without a valid window.

    Source: Wang et al. (2004), eq. 13, with their Gaussian weights of 1.5 px and constants. We
    depart in what is averaged: windows that reach over the border or hold an invalid pixel do
    not count, so that what fills gaps is never compared.

    Raises:
        ValueError: frames are smaller than a window.
    """
    if window_px > min(forecast.shape[-2:]):
        raise ValueError(
            f"frames of {tuple(forecast.shape[-2:])} px are smaller than window_px="
            f"{window_px}, so there is no window to compare; lower window_px or take "
            "larger patches"
        )
    x = _frames(torch.where(valid, forecast, 0.0))
    y = _frames(torch.where(valid, truth, 0.0))
    window_valid = max_pool2d((~_frames(valid)).to(x.dtype), window_px, stride=1) == 0
    weights = _gaussian(window_px, x)
    similarity = _similarity(x, y, weights, (_K1 * data_range) ** 2, (_K2 * data_range) ** 2)
    dissimilarity = torch.where(window_valid, 1 - similarity, 0.0)
    return dissimilarity.sum() / denominator(window_valid)


def _similarity(x: Tensor, y: Tensor, weights: Tensor, c1: float, c2: float) -> Tensor:
    """Compare means, variances and covariance of all windows."""
    mu_x = conv2d(x, weights)
    mu_y = conv2d(y, weights)
    var_x = conv2d(x * x, weights) - mu_x.square()
    var_y = conv2d(y * y, weights) - mu_y.square()
    cov = conv2d(x * y, weights) - mu_x * mu_y
    return ((2 * mu_x * mu_y + c1) * (2 * cov + c2)) / (
        (mu_x.square() + mu_y.square() + c1) * (var_x + var_y + c2)
    )


def _frames(values: Tensor) -> Tensor:
    """Take every frame as a batch entry of one channel (b * l, 1, y, x)."""
    return values.reshape(-1, 1, *values.shape[-2:])


def _gaussian(side: int, like: Tensor) -> Tensor:
    """Weigh the pixels of a window (1, 1, side, side); the weights sum to one."""
    offsets = torch.arange(side, dtype=like.dtype, device=like.device) - (side - 1) / 2
    density = torch.exp(-offsets.square() / (2 * _SIGMA_PX**2))
    line = density / density.sum()
    return torch.outer(line, line)[None, None]
