"""Errors of details at several resolutions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from pipeline.losses.denominator import denominator


def laplacian(forecast: Tensor, truth: Tensor, valid: Tensor, *, levels: int = 3) -> Tensor:
    """Sum the mean absolute error of every band of a pyramid, and of its coarsest level.

    A band is what a pixel differs by from the mean of its block of 2 x 2. The pyramid is
    linear, so the pyramid of the error is the difference of both pyramids.

    Source: Burt and Adelson (1983); as a loss, Bojanowski et al. (2018), eq. 4, whose factors
    of 4 a level make every level's mean count alike. We depart from both in the filter: means
    over the valid pixels of a block stand for the Gaussian, so nothing that fills gaps enters.
    """
    error = torch.where(valid, forecast - truth, 0.0)
    total = error.new_zeros(())
    for _ in range(levels):
        coarse, usable = _downsample(error, valid)
        band = error - _upsample(coarse, error)
        total = total + _mean_absolute(band, valid)
        error, valid = coarse, usable
    return total + _mean_absolute(error, valid)


def _mean_absolute(values: Tensor, valid: Tensor) -> Tensor:
    sizes = torch.where(valid, values, 0.0).abs()
    return sizes.sum() / denominator(valid)


def _downsample(values: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Average the valid pixels of each block of 2 x 2; a block with one is valid."""
    share = avg_pool2d(valid.to(values.dtype), 2, ceil_mode=True)  # (b, l, y / 2, x / 2)
    usable = share > 0
    mean = avg_pool2d(values, 2, ceil_mode=True) / torch.where(usable, share, 1.0)
    return mean, usable


def _upsample(values: Tensor, like: Tensor) -> Tensor:
    """Repeat each pixel over its block of 2 x 2, cut to the size of ``like``."""
    twice = interpolate(values, scale_factor=2, mode="nearest")
    return twice[..., : like.shape[-2], : like.shape[-1]]
