"""One learning step: roll, compare, and report in normalized units."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from pipeline.models import ConvLSTM
from pipeline.models.roll import Inputs, Teacher, roll
from pipeline.streams.samples import Sample


@dataclass(frozen=True, slots=True)
class Parts:
    """One batch as tensors on the device of the network, and the keys of its samples."""

    target: Tensor
    valid: Tensor
    forcings: Tensor
    statics: Tensor
    domain: Tensor
    samples: Sequence[Sample]

    @classmethod
    def of(cls, tensors: Iterable[Tensor], samples: Sequence[Sample]) -> Self:
        """Take the tensors of a batch in the order of ``streams.samples.Batch``.

        Keys of samples that were read but are not in the tensors are left out.
        """
        target, valid, forcings, statics, domain = tensors
        return cls(target, valid, forcings, statics, domain, samples[: len(target)])

    def __len__(self) -> int:
        return len(self.samples)


TotalLoss = Callable[..., Tensor]
Weigh = Callable[[Parts], Sequence[Tensor | None]]
"""Gives weights of the pixels of all leads (b, leads, y, x), for each term of the loss."""


@dataclass(frozen=True, slots=True)
class Rolled:
    """A forecast beside what happened, each (b, l, y, x)."""

    forecast: Tensor
    truth: Tensor
    valid: Tensor
    loss: Tensor


class ForecastTask:
    """Roll a network out over a batch and compare with what happened.

    Args:
        network: what learns.
        loss: called with forecast, truth, valid and the weights of the pixels.
        leads: leads that a batch holds; fewer may be rolled out.
        weigh: gives the weights of the pixels, for each term of the loss.
    """

    def __init__(
        self, network: ConvLSTM, loss: TotalLoss, leads: int, weigh: Weigh | None = None
    ) -> None:
        self.network = network
        self._loss = loss
        self._leads = leads
        self._weigh = weigh

    def teach(self, batch: Parts, *, leads: int, teacher: float, noise: float) -> Rolled:
        """Roll out ``leads`` frames in training mode.

        Args:
            batch: what to learn from.
            leads: frames to roll out.
            teacher: chance that a rolled-out frame is replaced by the truth.
            noise: deviation of the noise on the history.
        """
        first = batch.target.shape[1] - self._leads
        picked = self._picked(batch, teacher, leads)
        return self._roll(batch, first, leads, picked, noise)

    def judge(self, batch: Parts) -> Rolled:
        """Roll out all leads without help."""
        first = batch.target.shape[1] - self._leads
        return self._roll(batch, first, self._leads, None, 0.0)

    def _roll(
        self, batch: Parts, first: int, leads: int, teacher: Teacher | None, noise: float
    ) -> Rolled:
        inputs = Inputs(
            target=_noisy(batch.target[:, :first], batch.valid[:, :first], noise),
            valid=batch.valid[:, :first],
            forcings=batch.forcings,
            statics=batch.statics,
            domain=batch.domain,
        )
        forecast = roll(self.network, inputs, leads=leads, truth=teacher).float()
        truth = batch.target[:, first : first + leads]
        scored = batch.valid[:, first : first + leads] & batch.domain[:, None]
        loss = self._loss(forecast, truth, scored, self._weights(batch, leads))
        return Rolled(forecast, truth, scored, loss)

    def _weights(self, batch: Parts, leads: int) -> list[Tensor | None] | None:
        if self._weigh is None or not len(batch):
            return None
        return [None if w is None else w[:, :leads] for w in self._weigh(batch)]

    def _picked(self, batch: Parts, chance: float, leads: int) -> Teacher | None:
        """Pick the frames that are taught; None when none are."""
        if chance <= 0 or leads == 1:
            return None
        device = batch.target.device
        picked = torch.rand(len(batch), leads, device=device) < chance
        first = batch.target.shape[1] - self._leads
        frames = slice(first, first + leads)
        return Teacher(batch.target[:, frames], batch.valid[:, frames], picked)


def _noisy(target: Tensor, valid: Tensor, deviation: float) -> Tensor:
    """Add noise where the history is known, as a rollout's own errors will.

    Source: Sanchez-Gonzalez et al. (2020), section 3.2; ours is independent of other frames.
    """
    if deviation <= 0:
        return target
    return torch.where(valid, target + deviation * torch.randn_like(target), target)
