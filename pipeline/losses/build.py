"""From plain values to the loss that training minimizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pipeline.losses.laplacian import laplacian
from pipeline.losses.point import masked_error, mean_over, pointwise
from pipeline.losses.ssim import ssim

Loss = Callable[..., Tensor]
"""Called with forecast, truth and valid (b, l, y, x), and at will the weight of every pixel."""


def build_loss(
    kind: str,
    *,
    delta: float = 1.0,
    data_range: float = 1.0,
    window_px: int = 11,
    levels: int = 3,
) -> Loss:
    """Choose a loss; each kind looks at its own numbers alone.

    Raises:
        ValueError: there is no such loss.
    """
    if kind == "ssim":
        return _unweighted(
            lambda *given: ssim(*given, data_range=data_range, window_px=window_px)
        )
    if kind == "laplacian":
        return _unweighted(lambda *given: laplacian(*given, levels=levels))
    cost = pointwise(kind, delta=delta)

    def loss(
        forecast: Tensor, truth: Tensor, valid: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        costs = cost(masked_error(forecast, truth, valid))
        if weights is not None:
            costs = torch.where(valid, weights, 0.0) * costs
        return mean_over(costs, valid)

    return loss


def _unweighted(function: Callable[..., Tensor]) -> Loss:
    def loss(
        forecast: Tensor, truth: Tensor, valid: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        return function(forecast, truth, valid)

    return loss


def join_losses(terms: Sequence[tuple[float, Loss]]) -> Callable[..., Tensor]:
    """Add losses by their factors.

    The sum is called like a loss, with one entry of ``weights`` per term: weights of the
    pixels, or None.
    """

    def loss(
        forecast: Tensor,
        truth: Tensor,
        valid: Tensor,
        weights: Sequence[Tensor | None] | None = None,
    ) -> Tensor:
        each = weights or [None] * len(terms)
        parts = [
            factor * term(forecast, truth, valid, pixels)
            for (factor, term), pixels in zip(terms, each, strict=True)
        ]
        return torch.stack(parts).sum() if len(parts) > 1 else parts[0]

    return loss
