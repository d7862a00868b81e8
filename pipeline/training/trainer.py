"""Everything that changes while a network is trained, as one state that can be saved."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pipeline.channels import ChannelSpec
from pipeline.losses import global_denominator
from pipeline.streams.samples import Sample
from pipeline.training.checkpoint import CheckpointState, get_rng_states, set_rng_states
from pipeline.training.collectives import Collectives
from pipeline.training.early_stopping import EarlyStopping, Score
from pipeline.training.ema import EMA
from pipeline.training.environment import ComputeEnvironment, environment_on
from pipeline.training.guards import (
    check_gradient_finite,
    check_loss_finite,
    explaining_out_of_memory,
)
from pipeline.training.progress import TrainingProgress
from pipeline.training.result_cache import describe_environments
from pipeline.training.schedule import Hyperparameters, PlateauScheduler, lr_factor
from pipeline.training.sync_batchnorm import convert_sync_batchnorm
from pipeline.training.task import DeviceBatch, ForecastTask
from stores.formatting import pluralize

if TYPE_CHECKING:
    from lightning.fabric import Fabric

CurveRow = dict[str, float]


@dataclass
class Trainer:
    """A network that is trained, and the whole state of its training.

    Args:
        fabric: device, precision and ranks.
        task: rollout and loss.
        hyperparameters: of the optimizer and the task.
        scores: of the validation after every epoch; the last decides.
        channels: of the network.
    """

    fabric: Fabric
    task: ForecastTask
    hyperparameters: Hyperparameters
    scores: Sequence[Score]
    channels: ChannelSpec
    progress: TrainingProgress = field(default_factory=TrainingProgress)
    curves: list[CurveRow] = field(default_factory=list)
    plateau: PlateauScheduler = field(default_factory=PlateauScheduler)

    def __post_init__(self) -> None:
        self.ranks = Collectives(self.fabric)
        if self.ranks.world_size > 1:
            convert_sync_batchnorm(self.task.network)
        network = self.task.network.to(self.fabric.device)
        self._raw_optimizer = torch.optim.AdamW(  # Loshchilov and Hutter (2019)
            network.parameters(),
            lr=self.hyperparameters.lr,
            weight_decay=self.hyperparameters.weight_decay,
        )
        optimizer = self.fabric.setup_optimizers(self._raw_optimizer)
        assert not isinstance(optimizer, tuple)  # one was given
        self._optimizer = optimizer
        self._ema = EMA(network, self.hyperparameters.ema) if self.hyperparameters.ema else None
        self.early_stopping = EarlyStopping(self.hyperparameters.patience)
        self.environments = [
            environment_on(
                self.fabric.device,
                str(self.fabric.strategy.precision.precision),
                threads=torch.get_num_threads(),
                ranks=self.ranks.world_size,
            )
        ]

    @property
    def is_done(self) -> bool:
        """Whether all epochs are done, or early stopping ends them."""
        return (
            self.progress.epoch >= self.hyperparameters.curriculum.epochs
            or self.early_stopping.should_stop
        )

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        factor = lr_factor(
            self.progress.step,
            kind=self.hyperparameters.schedule,
            warmup_steps=self.hyperparameters.warmup_steps,
            total_steps=self.hyperparameters.total_steps,
        )
        return self.hyperparameters.lr * factor * self.plateau.factor

    @property
    def leads(self) -> int:
        """Leads rolled out in this epoch."""
        return self.hyperparameters.curriculum.leads_at(self.progress.epoch)

    def begin_epoch(self) -> None:
        """Record the rate, unless this epoch began in a process that was killed."""
        if self.progress.batch == 0:
            self.progress.rate = self.lr

    def to_device(self, tensors: Sequence[Tensor], samples: Sequence[Sample]) -> DeviceBatch:
        """Move a batch to the device of the network (shapes as in ``DeviceBatch``)."""
        device = self.fabric.device
        return DeviceBatch.of((t.to(device, non_blocking=True) for t in tensors), samples)

    def train_batch(
        self, batch: DeviceBatch, *, loss_weight: float, is_last_microbatch: bool
    ) -> int:
        """Compute the gradients of one batch, and make a step at the last of accumulated ones.

        Args:
            batch: what to learn from; with several ranks, this one's part of it.
            loss_weight: fraction of the batch in its step.
            is_last_microbatch: whether the step is made now, or after more batches.

        Returns:
            Samples of the batch, of all ranks.
        """
        with explaining_out_of_memory(self._describe_batch(batch, self.leads)):
            with self._autocast(), self._global_denominator():
                output = self.task.training_step(
                    batch,
                    leads=self.leads,
                    teacher_probability=self.hyperparameters.curriculum.teacher_probability_at(
                        self.progress.epoch
                    ),
                    noise_std=self.hyperparameters.noise,
                )
            own_loss = check_loss_finite(output, batch, self.channels, self._describe_step())
            self.fabric.backward(output.loss * loss_weight)
            if is_last_microbatch:
                self._make_step(batch)
        loss, n_samples = self.ranks.all_reduce_numbers(own_loss, len(batch))
        self.progress.batch += 1
        self.progress.loss += loss * n_samples
        self.progress.n_samples += int(n_samples)
        return int(n_samples)

    def _make_step(self, last: DeviceBatch) -> None:
        self.ranks.all_reduce_gradients(self.task.network)
        for group in self._raw_optimizer.param_groups:
            group["lr"] = self.lr
        norm = self.fabric.clip_gradients(
            self.task.network,
            self._optimizer,
            max_norm=self.hyperparameters.clip or math.inf,
            error_if_nonfinite=False,
        )
        # Half precision overflows now and then: its scaler skips that step and scales less.
        if self.fabric.strategy.precision.precision != "16-mixed":
            assert norm is not None
            check_gradient_finite(norm, last, self._describe_step())
        self._optimizer.step()
        self._raw_optimizer.zero_grad()
        self.progress.step += 1
        if self._ema is not None:
            self._ema.update(self.task.network)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluate the network as it will be used: averaged weights, without dropout."""
        network = self.task.network
        average = self._ema.applied_to(network) if self._ema else nullcontext()
        for score in self.scores:
            score.reset()
        network.eval()
        try:
            with torch.no_grad(), average:
                yield
        finally:
            network.train()

    def validate_batch(self, batch: DeviceBatch) -> None:
        """Score one batch of the validation part."""
        leads = self.hyperparameters.curriculum.leads
        with explaining_out_of_memory(self._describe_batch(batch, leads)), self._autocast():
            output = self.task.validation_step(batch)
        context = f"the validation after {self._describe_step()}"
        check_loss_finite(output, batch, self.channels, context)
        for score in self.scores:
            score.update(batch, output)

    def end_epoch(self) -> tuple[CurveRow, bool]:
        """Return the row of the epoch, and whether it is the best so far.

        Raises:
            RuntimeError: ranks hold different weights.
            ValueError: the score is not a number.
        """
        if self.ranks.world_size > 1:
            self.ranks.check_weights_equal(
                self.task.network, f"after epoch {self.progress.epoch + 1}"
            )
            for each in self.scores:
                each.all_reduce(self.ranks.all_reduce_numbers)
        score = self.scores[-1].value
        if not math.isfinite(score):
            raise ValueError(
                f"{self.scores[-1].name} is {score}: the validation part has no valid pixel "
                "there, so no epoch can be called better; lengthen split.validation"
            )
        row = {
            "epoch": self.progress.epoch + 1,
            "train_loss": self.progress.loss / self.progress.n_samples,
        }
        row |= {score.name: score.value for score in self.scores} | {"lr": self.progress.rate}
        row |= self.hyperparameters.curriculum.log_row_at(self.progress.epoch)
        if self._ema is not None:
            row["ema"] = self._ema.decay
        self.curves.append(row)
        weights = self._ema.weights if self._ema else self.task.network.state_dict()
        copied = {name: value.detach().cpu().clone() for name, value in weights.items()}
        is_growing = self.hyperparameters.curriculum.is_growing_at(self.progress.epoch)
        is_best = self.early_stopping.update(
            self.progress.epoch + 1, score, copied, is_growing=is_growing
        )
        if self.hyperparameters.schedule == "plateau":
            self.plateau.step(score)
        self.progress = TrainingProgress(epoch=self.progress.epoch + 1, step=self.progress.step)
        return row, is_best

    def state_dict(self) -> CheckpointState:
        """Return what a checkpoint keeps: only between two steps, and on all ranks at once."""
        first, *others = self.ranks.all_gather(get_rng_states())
        return {
            "at": vars(self.progress).copy(),
            "network": self.task.network.state_dict(),
            "optimizer": self._raw_optimizer.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "average": self._ema.state_dict() if self._ema else None,
            "judge": self.early_stopping.state_dict(),
            "plateau": self.plateau.state_dict(),
            "curves": self.curves,
            "random": first,
            "random_of_others": others,
            **describe_environments(self.environments),
        }

    def load_state_dict(self, state: CheckpointState) -> None:
        """Go on from the state of a checkpoint."""
        self.progress = TrainingProgress(**state["at"])
        self.task.network.load_state_dict(state["network"])
        self._raw_optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        if self._ema is not None:
            self._ema.load_state_dict(**state["average"])
        self.early_stopping.load_state_dict(state["judge"])
        self.plateau = PlateauScheduler(**state["plateau"])
        self.curves = list(state["curves"])
        current = [] if self.is_done else self.environments
        previous = [ComputeEnvironment(**values) for values in state["arithmetic"]]
        self.environments = [*(past for past in previous if past not in current), *current]
        rng_states = [state["random"], *state.get("random_of_others", [])]
        if self.ranks.rank < len(rng_states):
            set_rng_states(rng_states[self.ranks.rank])

    def _global_denominator(self) -> AbstractContextManager[None]:
        """Let losses divide by what is valid on all ranks."""
        return (
            global_denominator(self.ranks.all_reduce)
            if self.ranks.world_size > 1
            else nullcontext()
        )

    @contextmanager
    def _autocast(self) -> Iterator[None]:
        with self.fabric.autocast():
            # A weight is used for every frame and lead. Cast once for all of them, its
            # gradients would add up in half precision.
            torch.set_autocast_cache_enabled(False)
            yield

    def _describe_step(self) -> str:
        done = self.progress
        return f"step {done.step + 1} (epoch {done.epoch + 1}, batch {done.batch + 1})"

    def _describe_batch(self, batch: DeviceBatch, leads: int) -> str:
        height, width = batch.target.shape[-2:]
        n = self.task.n_members
        members = f" in {n} members each" if n > 1 else ""
        patches = f"{pluralize(len(batch), 'patch')} of {height} x {width} px{members}"
        return (
            f"a batch of {patches}, rolled out over {pluralize(leads, 'lead')} on "
            f"{self.fabric.device},"
        )
