"""Losses over valid pixels only: torch alone, so they run wherever a network does."""

from pipeline.losses.build import (
    LOSSES,
    PROBABILISTIC,
    LossFunction,
    WeightedLoss,
    build_loss,
    sum_losses,
)
from pipeline.losses.denominator import global_denominator
from pipeline.losses.laplacian import laplacian
from pipeline.losses.point import huber, threshold_weights
from pipeline.losses.probabilistic import crps, pinball
from pipeline.losses.ssim import ssim

__all__ = [
    "LOSSES",
    "PROBABILISTIC",
    "LossFunction",
    "WeightedLoss",
    "build_loss",
    "crps",
    "global_denominator",
    "huber",
    "laplacian",
    "pinball",
    "ssim",
    "sum_losses",
    "threshold_weights",
]
