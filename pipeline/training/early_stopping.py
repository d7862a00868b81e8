"""Validation scores, the best epoch, and when to stop early."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from pipeline.streams.samples import RolloutSpan, Sample
from pipeline.streams.source import Source
from pipeline.training.ema import StateDict
from pipeline.training.task import DeviceBatch, StepOutput
from stores.array_types import Float32Array

AllReduceSum = Callable[..., list[float]]
"""Adds up numbers over the ranks."""


class Score(Protocol):
    """A number of the validation part, gathered batch by batch; lower is better."""

    name: str
    units: str
    """Units of the score; empty where it is normalized."""

    def reset(self) -> None:
        """Reset the sums."""

    def update(self, batch: DeviceBatch, output: StepOutput) -> None:
        """Add one batch."""

    def all_reduce(self, add: AllReduceSum) -> None:
        """Add the sums of the other ranks."""

    @property
    def value(self) -> float:
        """The score of all batches so far."""


@dataclass
class MeanLoss:
    """Mean loss; each batch counts by its samples."""

    name: str = "validation_loss"
    units: str = ""
    total: float = 0.0
    n_samples: int = 0

    def reset(self) -> None:
        """Reset the sums."""
        self.total = 0.0
        self.n_samples = 0

    def update(self, batch: DeviceBatch, output: StepOutput) -> None:
        """Add one batch."""
        self.total += float(output.loss) * len(batch)
        self.n_samples += len(batch)

    def all_reduce(self, add: AllReduceSum) -> None:
        """Add the sums of the other ranks."""
        self.total, n_samples = add(self.total, self.n_samples)
        self.n_samples = int(n_samples)

    @property
    def value(self) -> float:
        """Mean loss so far."""
        return self.total / max(1, self.n_samples)


@dataclass
class LeadRMSE:
    """Root mean squared error of all valid pixels at one lead.

    Args:
        lead: which lead, counted from 1.
        inverse_transform: of forecast and truth; None keeps them normalized.
        units: of the score.
    """

    lead: int
    inverse_transform: BatchInverseTransform | None = None
    units: str = ""
    name: str = "validation_rmse"
    sum_squares: float = 0.0
    n_pixels: int = 0

    def reset(self) -> None:
        """Reset the sums."""
        self.sum_squares = 0.0
        self.n_pixels = 0

    def update(self, batch: DeviceBatch, output: StepOutput) -> None:
        """Add one batch."""
        lead_index = self.lead - 1
        forecast = output.forecast[:, lead_index].float().cpu().numpy()  # (b, y, x)
        truth = output.truth[:, lead_index].float().cpu().numpy()
        valid = output.valid[:, lead_index].cpu().numpy()
        with np.errstate(over="ignore"):  # a forecast that explodes is off by infinity
            if self.inverse_transform is not None:
                forecast = self.inverse_transform(forecast, batch.samples, lead_index)
                truth = self.inverse_transform(truth, batch.samples, lead_index)
            errors = np.subtract(forecast, truth, where=valid, out=np.zeros(valid.shape))
            self.sum_squares += float(np.square(errors).sum())
        self.n_pixels += int(valid.sum())

    def all_reduce(self, add: AllReduceSum) -> None:
        """Add the sums of the other ranks."""
        self.sum_squares, n_pixels = add(self.sum_squares, self.n_pixels)
        self.n_pixels = int(n_pixels)

    @property
    def value(self) -> float:
        """Error of all batches so far; NaN before there was a valid pixel."""
        return math.sqrt(self.sum_squares / self.n_pixels) if self.n_pixels else math.nan


@dataclass(frozen=True)
class BatchInverseTransform:
    """Inverse transform of one lead of a batch, to physical units."""

    source: Source
    span: RolloutSpan

    def __call__(
        self, normalized: Float32Array, samples: Sequence[Sample], lead_index: int
    ) -> Float32Array:
        """Compute physical values (b, y, x) of the lead at ``lead_index``."""
        step = self.source.open().step
        return np.concatenate(
            [
                self.source.inverse_transform(
                    frame[None],
                    sample.window,
                    self.span.lead_times(step, sample.init)[lead_index : lead_index + 1],
                )
                for frame, sample in zip(normalized, samples, strict=True)
            ]
        )


@dataclass
class EarlyStopping:
    """Remember the best epoch and its weights; stop when ``patience`` epochs were no better.

    Epochs in which rollouts still grow may be the best, but use up no patience: what is learned
    gets harder from one to the next, so none of them says that further ones are in vain.
    """

    patience: int
    best: float = math.inf
    best_epoch: int = 0
    """Counted from 1; 0 before there was one."""
    n_bad_epochs: int = 0
    weights: StateDict = field(default_factory=dict)

    def update(
        self, epoch: int, score: float, weights: StateDict, *, is_growing: bool = False
    ) -> bool:
        """Take in the score of one epoch; return whether it is the best so far.

        Args:
            epoch: which one, counted from 1.
            score: lower is better; of all leads, whatever the epoch rolled out.
            weights: with which it was scored.
            is_growing: whether the rollouts of this epoch were shorter than they will be.
        """
        if score < self.best:
            self.best = score
            self.best_epoch = epoch
            self.n_bad_epochs = 0
            self.weights = weights
            return True
        self.n_bad_epochs += not is_growing
        return False

    @property
    def should_stop(self) -> bool:
        """Whether further epochs are in vain."""
        return self.n_bad_epochs >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {
            "best": self.best,
            "best_epoch": self.best_epoch,
            "n_worse": self.n_bad_epochs,
            "weights": self.weights,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the state of a checkpoint."""
        self.best = state["best"]
        self.best_epoch = state["best_epoch"]
        self.n_bad_epochs = state["n_worse"]
        self.weights = state["weights"]
