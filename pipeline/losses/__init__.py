"""Losses that see valid pixels only: torch alone, so they run wherever a network does."""

from pipeline.losses.build import SPREADS, Loss, Term, build_loss, join_losses
from pipeline.losses.counts import counted_by
from pipeline.losses.laplacian import laplacian
from pipeline.losses.point import classed, huber, pointwise
from pipeline.losses.spreads import crps, pinball
from pipeline.losses.ssim import ssim

__all__ = [
    "SPREADS",
    "Loss",
    "Term",
    "build_loss",
    "classed",
    "counted_by",
    "crps",
    "huber",
    "join_losses",
    "laplacian",
    "pinball",
    "pointwise",
    "ssim",
]
