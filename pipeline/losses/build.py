"""From plain values to the loss that training minimizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pipeline.losses.laplacian import laplacian
from pipeline.losses.point import huber, masked_error, valid_mean
from pipeline.losses.probabilistic import crps, pinball
from pipeline.losses.ssim import ssim
from pipeline.registry import look_up

LossFunction = Callable[..., Tensor]
"""Called with forecast, truth and valid (b, l, y, x), and optionally the weight of every pixel.

Probabilistic losses take all members or quantiles as the forecast (s, b, l, y, x).
"""

BuildLoss = Callable[..., LossFunction]
"""Called with the numbers of ``build_loss``, of which each kind takes its own."""


def _unweighted(function: Callable[..., Tensor]) -> LossFunction:
    def loss(
        forecast: Tensor, truth: Tensor, valid: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        return function(forecast, truth, valid)

    return loss


def _mean_over_pixels(pixel_loss: Callable[[Tensor], Tensor]) -> LossFunction:
    def loss(
        forecast: Tensor, truth: Tensor, valid: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        return valid_mean(pixel_loss(masked_error(forecast, truth, valid)), valid, weights)

    return loss


def _build_ssim(*, data_range: float, window_px: int, **_: Any) -> LossFunction:
    return _unweighted(partial(ssim, data_range=data_range, window_px=window_px))


LOSSES: dict[str, BuildLoss] = {
    "mse": lambda **_: _mean_over_pixels(torch.square),
    "mae": lambda **_: _mean_over_pixels(torch.abs),
    "huber": lambda *, delta, **_: _mean_over_pixels(partial(huber, delta=delta)),
    "ssim": _build_ssim,
    "laplacian": lambda *, levels, **_: _unweighted(partial(laplacian, levels=levels)),
    "quantile": lambda *, quantiles, **_: partial(pinball, quantiles=quantiles),
    "crps": lambda **_: crps,
}
"""Every loss by its kind in recipes."""
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
        UnknownOptionError: there is no such loss.
    """
    return look_up(LOSSES, kind, "loss")(
        delta=delta,
        data_range=data_range,
        window_px=window_px,
        levels=levels,
        quantiles=quantiles,
    )


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
