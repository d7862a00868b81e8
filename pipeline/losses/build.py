"""From plain values to the loss that training minimizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.losses.laplacian import laplacian
from pipeline.losses.point import masked_error, pointwise, valid_mean
from pipeline.losses.probabilistic import crps, pinball
from pipeline.losses.ssim import ssim

LossFunction = Callable[..., Tensor]
"""Called with forecast, truth and valid (b, l, y, x), and optionally the weight of every pixel.

Probabilistic losses take all members or quantiles as the forecast (s, b, l, y, x).
"""

PROBABILISTIC = ("quantile", "crps")
"""Kinds that score all members or quantiles of a forecast."""


def build_loss(
    kind: str,
    *,
    delta: float = 1.0,
    data_range: float = 1.0,
    window_px: int = 11,
    levels: int = 3,
    quantiles: Sequence[float] = (),
) -> LossFunction:
    """Build a loss; each kind uses its own numbers alone.

    Raises:
        ValueError: there is no such loss.
    """
    if kind == "ssim":
        return _unweighted(
            lambda *tensors: ssim(*tensors, data_range=data_range, window_px=window_px)
        )
    if kind == "laplacian":
        return _unweighted(lambda *tensors: laplacian(*tensors, levels=levels))
    if kind == "quantile":
        return partial(pinball, quantiles=quantiles)
    if kind == "crps":
        return crps
    cost = pointwise(kind, delta=delta)

    def loss(
        forecast: Tensor, truth: Tensor, valid: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        return valid_mean(cost(masked_error(forecast, truth, valid)), valid, weights)

    return loss


def _unweighted(function: Callable[..., Tensor]) -> LossFunction:
    def loss(
        forecast: Tensor, truth: Tensor, valid: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        return function(forecast, truth, valid)

    return loss


class WeightedLoss(NamedTuple):
    """One loss of a sum."""

    factor: float
    loss: LossFunction
    takes_distribution: bool = False
    """Whether it takes all members or quantiles of a forecast."""


def sum_losses(terms: Sequence[WeightedLoss]) -> Callable[..., Tensor]:
    """Add losses by their factors.

    The sum is called like a loss, with one entry of ``weights`` per term: weights of the
    pixels (b, l, y, x), or None; and with the ``distribution`` of the forecast, its members
    or quantiles (s, b, l, y, x), where a term scores it.
    """

    def loss(
        forecast: Tensor,
        truth: Tensor,
        valid: Tensor,
        weights: Sequence[Tensor | None] | None = None,
        distribution: Tensor | None = None,
    ) -> Tensor:
        losses = []
        for term, pixel_weights in zip(terms, weights or [None] * len(terms), strict=True):
            predicted = distribution if term.takes_distribution else forecast
            losses.append(term.factor * term.loss(predicted, truth, valid, pixel_weights))
        return torch.stack(losses).sum() if len(losses) > 1 else losses[0]

    return loss
