"""One training step: roll out, and compare with the truth in normalized units."""

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
    """One batch as tensors on the device of the network, and its samples."""

    target: Tensor
    """(b, t, y, x), history and leads."""
    valid: Tensor
    """(b, t, y, x), boolean."""
    forcings: Tensor
    """(b, t, c, y, x)."""
    statics: Tensor
    """(b, c, y, x)."""
    domain: Tensor
    """(b, y, x), boolean."""
    samples: Sequence[Sample]

    @classmethod
    def of(cls, tensors: Iterable[Tensor], samples: Sequence[Sample]) -> Self:
        """Take the tensors of a batch in the order of ``streams.batch.Batch``.

        Samples that were read but are not in the tensors are left out.
        """
        target, valid, forcings, statics, domain = tensors
        return cls(target, valid, forcings, statics, domain, samples[: len(target)])

    def __len__(self) -> int:
        return len(self.samples)


TotalLoss = Callable[..., Tensor]
PixelWeights = Callable[[DeviceBatch], Sequence[Tensor | None]]
"""Weights of the pixels of all leads (b, l, y, x), for each term of the loss."""


@dataclass(frozen=True, slots=True)
class StepOutput:
    """A forecast beside the truth, each (b, l, y, x)."""

    forecast: Tensor
    """The forecast frames, the median of quantiles, or the mean of members."""
    truth: Tensor
    valid: Tensor
    loss: Tensor


class ForecastTask:
    """Roll a network out over a batch and compare with the truth.

    Args:
        network: is trained.
        loss: called with forecast, truth, valid, the weights of the pixels, and the quantiles
            or members of the forecast.
        leads: leads that a batch holds; fewer may be rolled out.
        pixel_weights: weights of the pixels of a batch, for each term of the loss.
        ensemble: members that every sample is rolled out in; None for one forecast.
    """

    def __init__(
        self,
        network: ConvLSTM,
        loss: TotalLoss,
        leads: int,
        pixel_weights: PixelWeights | None = None,
        ensemble: TrainingEnsemble | None = None,
    ) -> None:
        self.network = network
        self._loss = loss
        self._leads = leads
        self._pixel_weights = pixel_weights
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
            teacher_probability: that a rolled-out frame is replaced by the truth.
            noise_std: standard deviation of the noise on the history.
        """
        inputs = self._inputs(batch)
        truth = self._draw_teacher_forcing(batch, teacher_probability, leads)
        if self._ensemble is not None:
            inputs = self._ensemble.repeat(inputs)
            truth = self._ensemble.repeat_teacher_forcing(truth)
        noisy = inputs._replace(
            target=_add_training_noise(inputs.target, inputs.valid, noise_std)
        )
        return self._compare(batch, rollout(self.network, noisy, leads=leads, truth=truth))

    def validation_step(self, batch: DeviceBatch) -> StepOutput:
        """Roll out all leads in evaluation mode, without teacher forcing."""
        inputs = self._inputs(batch)
        ensemble = self._ensemble
        if ensemble is None:
            return self._compare(batch, rollout(self.network, inputs, leads=self._leads))
        members = ensemble.add_history_noise(ensemble.repeat(inputs), batch.samples)
        at_lead = partial(ensemble.mc_dropout_at, self.network, batch.samples)
        output = rollout(self.network, members, leads=self._leads, at_lead=at_lead)
        return self._compare(batch, output)

    def _inputs(self, batch: DeviceBatch) -> RolloutInputs:
        first = batch.target.shape[1] - self._leads
        return RolloutInputs(
            target=batch.target[:, :first],
            valid=batch.valid[:, :first],
            forcings=batch.forcings,
            statics=batch.statics,
            domain=batch.domain,
        )

    def _compare(self, batch: DeviceBatch, output: Tensor) -> StepOutput:
        """Compare the output of a rollout, whose leads are the first ones, with the truth."""
        forecast, distribution = self._split_output(output.float())
        first = batch.target.shape[1] - self._leads
        leads = forecast.shape[1]
        truth = batch.target[:, first : first + leads]
        valid = batch.valid[:, first : first + leads] & batch.domain[:, None]
        loss = self._loss(forecast, truth, valid, self._weights(batch, leads), distribution)
        return StepOutput(forecast, truth, valid, loss)

    def _split_output(self, output: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the point forecast (b, l, y, x), and members or quantiles (s, b, l, y, x)."""
        if self._ensemble is not None:
            members = self._ensemble.split_members(output)
            return members.mean(dim=0), members
        reading = self.network.reading
        return (output[reading.median_index], output) if reading.quantiles else (output, None)

    def _weights(self, batch: DeviceBatch, leads: int) -> list[Tensor | None] | None:
        if self._pixel_weights is None or not len(batch):
            return None
        return [None if w is None else w[:, :leads] for w in self._pixel_weights(batch)]

    def _draw_teacher_forcing(
        self, batch: DeviceBatch, probability: float, leads: int
    ) -> TeacherForcing | None:
        """Draw the frames (b, l) that are replaced by the truth; None when none are."""
        if probability <= 0 or leads == 1:
            return None
        device = batch.target.device
        is_taught = torch.rand(len(batch), leads, device=device) < probability
        first = batch.target.shape[1] - self._leads
        frames = slice(first, first + leads)
        return TeacherForcing(batch.target[:, frames], batch.valid[:, frames], is_taught)


def _add_training_noise(target: Tensor, valid: Tensor, std: float) -> Tensor:
    """Add noise where the history (b, t, y, x) is valid, as a rollout's own errors will.

    It is drawn anew at every step, unlike that of a member (``models.perturb``), which is one
    and the same wherever the member is forecast.

    Source: Sanchez-Gonzalez et al. (2020), section 3.2; ours is independent of other frames.
    """
    if std <= 0:
        return target
    return torch.where(valid, target + std * torch.randn_like(target), target)
