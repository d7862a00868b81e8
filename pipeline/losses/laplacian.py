"""Errors of details at several resolutions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from pipeline.losses.denominator import denominator


def laplacian(forecast: Tensor, truth: Tensor, valid: Tensor, *, levels: int = 3) -> Tensor:
    """Sum the mean absolute errors of all bands of a pyramid of frames (b, l, y, x).

    The coarsest level counts as a band. A band is what a pixel differs by from the mean of its
    block of 2 x 2. The pyramid is linear, so that of the error is the difference
    of both.

    Source: Burt and Adelson (1983); as a loss, Bojanowski et al. (2018), eq. 4, whose factors
    of 4 a level make every level's mean count alike. We depart from both in the filter: means
    over the valid pixels of a block stand for the Gaussian, so nothing that fills gaps enters.
    """
    level = torch.where(valid, forecast - truth, 0.0)
    level_valid = valid
    total = level.new_zeros(())
    for _ in range(levels):
        coarse, coarse_valid = _downsample(level, level_valid)
        band = level - _upsample(coarse, level)
        total = total + _mean_absolute(band, level_valid)
        level = coarse
        level_valid = coarse_valid
    return total + _mean_absolute(level, level_valid)


def _mean_absolute(values: Tensor, valid: Tensor) -> Tensor:
    magnitudes = torch.where(valid, values, 0.0).abs()
    return magnitudes.sum() / denominator(valid)


def _downsample(values: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Average the valid pixels of each block of 2 x 2; a block with one is valid."""
    valid_fraction = avg_pool2d(valid.to(values.dtype), 2, ceil_mode=True)  # (b, l, y/2, x/2)
    any_valid = valid_fraction > 0
    mean = avg_pool2d(values, 2, ceil_mode=True) / torch.where(any_valid, valid_fraction, 1.0)
    return mean, any_valid


def _upsample(values: Tensor, like: Tensor) -> Tensor:
    """Repeat each pixel over its block of 2 x 2, cut to the size of ``like``."""
    upsampled = interpolate(values, scale_factor=2, mode="nearest")
    return upsampled[..., : like.shape[-2], : like.shape[-1]]
