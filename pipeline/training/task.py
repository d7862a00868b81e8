"""One learning step: roll, compare, and report in normalized units."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
from torch import Tensor

from pipeline.models import ConvLSTM
from pipeline.models.roll import RolloutInputs, TeacherForcing, rollout
from pipeline.streams.samples import Sample
from pipeline.training.ensemble import TrainingEnsemble


@dataclass(frozen=True, slots=True)
class DeviceBatch:
    """One batch as tensors on the device of the network, and the keys of its samples."""

    target: Tensor
    valid: Tensor
    forcings: Tensor
    statics: Tensor
    domain: Tensor
    samples: Sequence[Sample]

    @classmethod
    def of(cls, tensors: Iterable[Tensor], samples: Sequence[Sample]) -> Self:
        """Take the tensors of a batch in the order of ``streams.batch.Batch``.

        Keys of samples that were read but are not in the tensors are left out.
        """
        target, valid, forcings, statics, domain = tensors
        return cls(target, valid, forcings, statics, domain, samples[: len(target)])

    def __len__(self) -> int:
        return len(self.samples)


TotalLoss = Callable[..., Tensor]
PixelWeights = Callable[[DeviceBatch], Sequence[Tensor | None]]
"""Gives weights of the pixels of all leads (b, leads, y, x), for each term of the loss."""


@dataclass(frozen=True, slots=True)
class StepOutput:
    """A forecast beside what happened, each (b, l, y, x)."""

    forecast: Tensor
    """What a network says, the median of its quantiles, or the mean of its members."""
    truth: Tensor
    valid: Tensor
    loss: Tensor


class ForecastTask:
    """Roll a network out over a batch and compare with what happened.

    Args:
        network: what learns.
        loss: called with forecast, truth, valid, the weights of the pixels, and the quantiles
            or members of the forecast.
        leads: leads that a batch holds; fewer may be rolled out.
        weigh: gives the weights of the pixels, for each term of the loss.
        ensemble: members that every sample is rolled out in; None for one forecast.
    """

    def __init__(
        self,
        network: ConvLSTM,
        loss: TotalLoss,
        leads: int,
        weigh: PixelWeights | None = None,
        ensemble: TrainingEnsemble | None = None,
    ) -> None:
        self.network = network
        self._loss = loss
        self._leads = leads
        self._weigh = weigh
        self._ensemble = ensemble

    @property
    def n_members(self) -> int:
        """Forecasts of every sample."""
        return self._ensemble.n if self._ensemble else 1

    def training_step(
        self, batch: DeviceBatch, *, leads: int, teacher_probability: float, noise_std: float
    ) -> StepOutput:
        """Roll out ``leads`` frames in training mode.

        Args:
            batch: what to learn from.
            leads: frames to roll out.
            teacher: chance that a rolled-out frame is replaced by the truth.
            noise: deviation of the noise on the history.
        """
        inputs, truth = self._inputs(batch), self._picked(batch, teacher_probability, leads)
        if self._ensemble is not None:
            inputs, truth = (
                self._ensemble.repeat(inputs),
                self._ensemble.repeat_teacher_forcing(truth),
            )
        inputs = inputs._replace(
            target=_add_training_noise(inputs.target, inputs.valid, noise_std)
        )
        return self._compare(batch, rollout(self.network, inputs, leads=leads, truth=truth))

    def validation_step(self, batch: DeviceBatch) -> StepOutput:
        """Roll out all leads without help."""
        inputs, ensemble = self._inputs(batch), self._ensemble
        if ensemble is None:
            return self._compare(batch, rollout(self.network, inputs, leads=self._leads))
        inputs = ensemble.add_history_noise(ensemble.repeat(inputs), batch.samples)
        at_lead = partial(ensemble.mc_dropout_at, self.network, batch.samples)
        forecast = rollout(self.network, inputs, leads=self._leads, at_lead=at_lead)
        return self._compare(batch, forecast)

    def _inputs(self, batch: DeviceBatch) -> RolloutInputs:
        first = batch.target.shape[1] - self._leads
        return RolloutInputs(
            target=batch.target[:, :first],
            valid=batch.valid[:, :first],
            forcings=batch.forcings,
            statics=batch.statics,
            domain=batch.domain,
        )

    def _compare(self, batch: DeviceBatch, said: Tensor) -> StepOutput:
        """Compare all that was rolled out, whose leads are the first ones, with the truth."""
        forecast, spread = self._parted(said.float())
        first, leads = batch.target.shape[1] - self._leads, forecast.shape[1]
        truth = batch.target[:, first : first + leads]
        scored = batch.valid[:, first : first + leads] & batch.domain[:, None]
        loss = self._loss(forecast, truth, scored, self._weights(batch, leads), spread)
        return StepOutput(forecast, truth, scored, loss)

    def _parted(self, said: Tensor) -> tuple[Tensor, Tensor | None]:
        """Give what stands for the forecast (b, l, y, x), and its spread (s, b, l, y, x)."""
        if self._ensemble is not None:
            members = self._ensemble.split_members(said)
            return members.mean(dim=0), members
        reading = self.network.reading
        return (said[reading.median_index], said) if reading.quantiles else (said, None)

    def _weights(self, batch: DeviceBatch, leads: int) -> list[Tensor | None] | None:
        if self._weigh is None or not len(batch):
            return None
        return [None if w is None else w[:, :leads] for w in self._weigh(batch)]

    def _picked(self, batch: DeviceBatch, chance: float, leads: int) -> TeacherForcing | None:
        """Pick the frames that are taught; None when none are."""
        if chance <= 0 or leads == 1:
            return None
        device = batch.target.device
        picked = torch.rand(len(batch), leads, device=device) < chance
        first = batch.target.shape[1] - self._leads
        frames = slice(first, first + leads)
        return TeacherForcing(batch.target[:, frames], batch.valid[:, frames], picked)


def _add_training_noise(target: Tensor, valid: Tensor, deviation: float) -> Tensor:
    """Add noise where the history (b, t, y, x) is known, as a rollout's own errors will.

    It is drawn anew at every step, unlike that of a member (``models.perturb``), which is one
    and the same wherever the member is forecast.

    Source: Sanchez-Gonzalez et al. (2020), section 3.2; ours is independent of other frames.
    """
    if deviation <= 0:
        return target
    return torch.where(valid, target + deviation * torch.randn_like(target), target)
