"""Losses that see valid pixels only."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def build_loss(kind: str, *, delta: float = 1.0) -> Loss:
    """Choose a pointwise error; the loss is its mean over valid pixels."""
    errors: dict[str, Callable[[Tensor], Tensor]] = {
        "mse": torch.square,
        "mae": torch.abs,
        "huber": lambda error: huber(error, delta),
    }
    if kind not in errors:
        raise ValueError(f"loss kind={kind!r} is unknown; choose one of {', '.join(errors)}")
    pointwise = errors[kind]

    def loss(forecast: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
        # Errors are masked before the pointwise function, so that a NaN outside the valid
        # pixels has no gradient; masked afterwards it would be NaN times zero.
        error = torch.where(valid, forecast - truth, 0.0)
        return pointwise(error).sum() / valid.sum().clamp(min=1)

    return loss


def huber(error: Tensor, delta: float) -> Tensor:
    """Half the squared error up to ``delta``, growing linearly beyond (Huber 1964)."""
    size = error.abs()
    return torch.where(size <= delta, 0.5 * error.square(), delta * (size - 0.5 * delta))
