"""The rollout itself: one loop, torch only."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Network = Callable[[Tensor], Tensor]


class Inputs(NamedTuple):
    """What a rollout of H leads from T frames reads, normalized; invalid values are 0."""

    target: Tensor
    """History of the target (b, t, y, x)."""
    valid: Tensor
    """Where the history is usable (b, t, y, x), boolean."""
    forcings: Tensor
    """Covariates of every frame that is read, at its true date (b, t + H - 1, f, y, x)."""
    statics: Tensor
    """Covariates without a date (b, s, y, x)."""
    domain: Tensor
    """Where forecasts are made and fed back (b, y, x), boolean."""


def stack_channels(target: Tensor, valid: Tensor, forcings: Tensor, statics: Tensor) -> Tensor:
    """Order the channels as the network knows them: target, valid, forcings, statics.

    Returns:
        frames (b, t, c, y, x).
    """
    fixed = statics[:, None].expand(-1, target.shape[1], -1, -1, -1)  # (b, t, s, y, x)
    own = torch.stack([target, valid.to(target.dtype)], dim=2)  # (b, t, 2, y, x)
    return torch.cat([own, forcings, fixed], dim=2)  # (b, t, c, y, x)


def roll(
    network: Network, inputs: Inputs, *, leads: int, truth: Teacher | None = None
) -> Tensor:
    """Forecast ``leads`` frames, each from the frames before it (b, leads, y, x).

    Forecasts are set invalid outside the domain before they are fed back. With a ``truth`` some
    fed-back frames are the observed ones instead (scheduled sampling, Bengio et al. 2015).
    """
    history = inputs.target.shape[1]
    target, valid = inputs.target, inputs.valid
    frames = []
    for lead in range(leads):
        forcings = inputs.forcings[:, lead : lead + history]
        frame = network(stack_channels(target, valid, forcings, inputs.statics))  # (b, y, x)
        frames.append(frame)
        fed, usable = torch.where(inputs.domain, frame, 0.0), inputs.domain
        if truth is not None:
            fed, usable = truth.replace(lead, fed, usable)
        target = torch.cat([target[:, 1:], fed[:, None]], dim=1)  # (b, t, y, x)
        valid = torch.cat([valid[:, 1:], usable[:, None]], dim=1)  # (b, t, y, x)
    return torch.stack(frames, dim=1)  # (b, leads, y, x)


class Teacher(NamedTuple):
    """Observed frames that stand in for forecasts while a network learns to roll."""

    target: Tensor
    """Truth of every lead (b, leads, y, x)."""
    valid: Tensor
    """Where it is known (b, leads, y, x), boolean."""
    picked: Tensor
    """Which samples are taught at which lead (b, leads), boolean."""

    def replace(self, lead: int, fed: Tensor, usable: Tensor) -> tuple[Tensor, Tensor]:
        """Exchange the forecast of ``lead`` in the picked samples."""
        picked = self.picked[:, lead, None, None]
        return (
            torch.where(picked, self.target[:, lead], fed),
            torch.where(picked, self.valid[:, lead], usable),
        )
