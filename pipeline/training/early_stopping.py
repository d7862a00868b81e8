"""Decide which epoch is the best, and when further ones are in vain."""

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

AllReduceSum = Callable[..., list[float]]
"""Adds up numbers over the ranks."""


class Score(Protocol):
    """A number of the validation part, gathered batch by batch; lower is better."""

    name: str
    units: str
    """Units of the score; empty where it is normalized."""

    def reset(self) -> None:
        """Begin anew."""

    def update(self, batch: DeviceBatch, rolled: StepOutput) -> None:
        """Take in one batch."""

    def all_reduce(self, add: AllReduceSum) -> None:
        """Take in what other ranks took in."""

    @property
    def value(self) -> float:
        """The score of what was taken in."""


@dataclass
class MeanLoss:
    """Mean loss; each batch counts by its samples."""

    name: str = "validation_loss"
    units: str = ""
    total: float = 0.0
    n_samples: int = 0

    def reset(self) -> None:
        """Begin anew."""
        self.total, self.n_samples = 0.0, 0

    def update(self, batch: DeviceBatch, rolled: StepOutput) -> None:
        """Take in one batch."""
        self.total += float(rolled.loss) * len(batch)
        self.n_samples += len(batch)

    def all_reduce(self, add: AllReduceSum) -> None:
        """Take in what other ranks took in."""
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
        restore: brings forecast and truth to the units wanted; None keeps them normalized.
        units: what they are then.
    """

    lead: int
    restore: BatchInverseTransform | None = None
    units: str = ""
    name: str = "validation_rmse"
    sum_squares: float = 0.0
    n_pixels: int = 0

    def reset(self) -> None:
        """Begin anew."""
        self.sum_squares, self.n_pixels = 0.0, 0

    def update(self, batch: DeviceBatch, rolled: StepOutput) -> None:
        """Take in one batch."""
        at = self.lead - 1
        pair = (
            values[:, at].float().cpu().numpy() for values in (rolled.forecast, rolled.truth)
        )
        valid = rolled.valid[:, at].cpu().numpy()
        with np.errstate(over="ignore"):  # a forecast that explodes is off by infinity
            forecast, truth = (
                pair
                if self.restore is None
                else [self.restore(values, batch.samples, at) for values in pair]
            )
            errors = np.subtract(forecast, truth, where=valid, out=np.zeros(valid.shape))
            self.sum_squares += float(np.square(errors).sum())
        self.n_pixels += int(valid.sum())

    def all_reduce(self, add: AllReduceSum) -> None:
        """Take in what other ranks took in."""
        self.sum_squares, n_pixels = add(self.sum_squares, self.n_pixels)
        self.n_pixels = int(n_pixels)

    @property
    def value(self) -> float:
        """ErrorFunction so far; NaN before there was a valid pixel."""
        return math.sqrt(self.sum_squares / self.n_pixels) if self.n_pixels else math.nan


@dataclass(frozen=True)
class BatchInverseTransform:
    """Bring one lead of a batch back to physical units."""

    source: Source
    span: RolloutSpan

    def __call__(self, normalized: Any, samples: Sequence[Sample], at: int) -> Any:
        """Restore values (b, y, x) of the lead at position ``at``."""
        step = self.source.open().step
        return np.concatenate(
            [
                self.source.inverse_transform(
                    frame[None],
                    sample.window,
                    self.span.lead_times(step, sample.init)[at : at + 1],
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
    n_worse: int = 0
    weights: StateDict = field(default_factory=dict)

    def update(
        self, epoch: int, score: float, weights: StateDict, *, is_growing: bool = False
    ) -> bool:
        """Look at one epoch; tell whether it is the best so far.

        Args:
            epoch: which one, counted from 1.
            score: lower is better; of all leads, whatever the epoch rolled out.
            weights: with which it was scored.
            grows: whether the rollouts of this epoch were shorter than they will be.
        """
        if score < self.best:
            self.best, self.best_epoch, self.n_worse = score, epoch, 0
            self.weights = weights
            return True
        self.n_worse += not is_growing
        return False

    @property
    def should_stop(self) -> bool:
        """Tell whether further epochs are in vain."""
        return self.n_worse >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """Give what has to be kept."""
        kept = ("best", "best_epoch", "n_worse", "weights")
        return {name: getattr(self, name) for name in kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a kept state."""
        for name, value in state.items():
            setattr(self, name, value)
