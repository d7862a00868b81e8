"""One learning step: roll, compare, and report in normalized units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from pipeline.losses import Loss
from pipeline.models import ConvLSTM
from pipeline.models.roll import Inputs, Teacher, roll
from pipeline.streams.samples import Batch
from pipeline.training.schedule import warmed_up


@dataclass(frozen=True, slots=True)
class LearningPlan:
    """Numbers that steer the optimizer."""

    leads: int
    lr: float
    weight_decay: float
    warmup_steps: int
    total_steps: int
    schedule: str
    teacher: tuple[float, float] = (0.0, 0.0)
    """Chance of the truth in place of a rolled-out frame, in the first and the last epoch."""


class ForecastTask(L.LightningModule):
    """Teach a network to roll out ``leads`` frames."""

    def __init__(self, network: ConvLSTM, loss: Loss, plan: LearningPlan) -> None:
        super().__init__()
        self.network = network
        self.plan = plan
        self._loss = loss

    def training_step(self, parts: Sequence[Tensor], index: int) -> Tensor:
        """Give the loss of one batch."""
        batch = Batch(*parts)  # type: ignore[arg-type]
        loss = self._roll_loss(batch, self._teacher(batch))
        self.log("train_loss", loss, on_epoch=True, on_step=False, batch_size=len(parts[0]))
        return loss

    def validation_step(self, parts: Sequence[Tensor], index: int) -> None:
        """Log the loss of one batch of the validation part, never taught."""
        loss = self._roll_loss(Batch(*parts), None)  # type: ignore[arg-type]
        self.log("validation_loss", loss, prog_bar=True, batch_size=len(parts[0]))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Choose AdamW (Loshchilov and Hutter 2019) with a warm-up before the schedule."""
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=self.plan.lr, weight_decay=self.plan.weight_decay
        )
        scheduler = warmed_up(
            optimizer,
            kind=self.plan.schedule,
            warmup_steps=self.plan.warmup_steps,
            total_steps=self.plan.total_steps,
        )
        return {"optimizer": optimizer, "lr_scheduler": scheduler}  # type: ignore[return-value]

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Advance the schedule; plateau looks at the validation loss once an epoch."""
        if metric is None:
            scheduler.step()
        else:
            scheduler.step(metric)

    def _roll_loss(self, batch: Any, teacher: Teacher | None) -> Tensor:
        leads = self.plan.leads
        history = batch.target.shape[1] - leads
        inputs = Inputs(
            target=batch.target[:, :history],
            valid=batch.valid[:, :history],
            forcings=batch.forcings,
            statics=batch.statics,
            domain=batch.domain,
        )
        forecast = roll(self.network, inputs, leads=leads, truth=teacher)
        scored = batch.valid[:, history:] & batch.domain[:, None]
        return self._loss(forecast.float(), batch.target[:, history:], scored)

    def _teacher(self, batch: Any) -> Teacher | None:
        """Pick the frames that are taught in this epoch; None when none are."""
        start, end = self.plan.teacher
        epochs = max(1, (self.trainer.max_epochs or 1) - 1)
        chance = start + (end - start) * min(1.0, self.current_epoch / epochs)
        if chance <= 0 or self.plan.leads == 1:
            return None
        leads = self.plan.leads
        picked = torch.rand(len(batch.target), leads, device=self.device) < chance
        return Teacher(batch.target[:, -leads:], batch.valid[:, -leads:], picked)
