"""Learning rates: a linear warm-up, then one of three ways down."""

from __future__ import annotations

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

_FACTOR, _PATIENCE = 0.5, 5  # plateau, as the XCO2 and precipitation systems used it


def rate_at(step: int, *, kind: str, warmup_steps: int, total_steps: int) -> float:
    """Give the share of the largest rate at ``step``.

    Source: cosine of Loshchilov and Hutter (2017), eq. 5 without restarts.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if kind != "cosine":
        return 1.0
    done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def warmed_up(
    optimizer: Optimizer, *, kind: str, warmup_steps: int, total_steps: int
) -> dict[str, Any]:
    """Build the schedule in Lightning's form."""
    if kind == "plateau":
        plateau = ReduceLROnPlateau(optimizer, factor=_FACTOR, patience=_PATIENCE)
        return {"scheduler": plateau, "interval": "epoch", "monitor": "validation_loss"}
    return {
        "scheduler": LambdaLR(
            optimizer,
            lambda step: rate_at(
                step, kind=kind, warmup_steps=warmup_steps, total_steps=total_steps
            ),
        ),
        "interval": "step",
    }
