"""Hyperparameters, and what changes with the step or the epoch: learning rate, leads, truth."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.registry import look_up

_PLATEAU_FACTOR = 0.5  # plateau, as the XCO2 and precipitation systems used it
_PLATEAU_PATIENCE = 5
_MIN_IMPROVEMENT = 1e-4  # a plateau is a fall by less than this fraction
_STEEPNESS = 10.0  # of the inverse sigmoid: flat at both ends of the training


def lr_factor(step: int, *, kind: str, warmup_steps: int, total_steps: int) -> float:
    """Compute the fraction of the largest rate at ``step``: a linear warm-up, then a decay.

    Source: cosine of Loshchilov and Hutter (2017), eq. 5 without restarts.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    fraction = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return look_up(_SCHEDULES, kind, "training.schedule")(fraction)


def _cosine(fraction: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * min(1.0, fraction)))


def _constant(fraction: float) -> float:
    return 1.0


_SCHEDULES = {"cosine": _cosine, "plateau": _constant, "constant": _constant}
"""Fraction of the largest rate after the warm-up; a plateau is found by the scores."""


@dataclass
class PlateauScheduler:
    """Halve the rate when the score has not fallen for some epochs."""

    factor: float = 1.0
    """Fraction of the largest rate now."""
    best: float = math.inf
    n_bad: int = 0

    def step(self, score: float) -> None:
        """Take in the score of one epoch."""
        if score < self.best * (1 - _MIN_IMPROVEMENT):
            self.best = score
            self.n_bad = 0
            return
        self.n_bad += 1
        if self.n_bad > _PLATEAU_PATIENCE:
            self.factor *= _PLATEAU_FACTOR
            self.n_bad = 0

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Curriculum:
    """How the task becomes harder from epoch to epoch; a pure function of the epoch."""

    epochs: int
    leads: int
    """Leads at the end."""
    leads_start: int
    leads_every: int = 1
    """Epochs after which one lead is added."""
    teacher: tuple[float, float] = (0.0, 0.0)
    """Probability of the truth in place of a rolled-out frame, in the first and last epoch."""
    teacher_decay: str = "linear"

    def leads_at(self, epoch: int) -> int:
        """Count the leads rolled out in ``epoch``, which is counted from 0."""
        return min(self.leads, self.leads_start + epoch // self.leads_every)

    def is_growing_at(self, epoch: int) -> bool:
        """Whether ``epoch`` rolls out fewer leads than later ones."""
        return self.leads_at(epoch) < self.leads

    def log_row_at(self, epoch: int) -> dict[str, float]:
        """Return what an epoch rolls out, where that changes from epoch to epoch."""
        row: dict[str, float] = {}
        if self.leads_start < self.leads:
            row["leads"] = self.leads_at(epoch)
        if any(self.teacher):
            row["teacher"] = self.teacher_probability_at(epoch)
        return row

    def teacher_probability_at(self, epoch: int) -> float:
        """Compute the probability that a rolled-out frame is replaced by the truth.

        Source: scheduled sampling of Bengio et al. (2015), section 2.4. Their inverse sigmoid
        has one free parameter and no end; ours is scaled so that the first and the last epoch
        have exactly the probabilities of the recipe.
        """
        start, end = self.teacher
        fraction = min(1.0, epoch / max(1, self.epochs - 1))
        decay = look_up(_DECAYS, self.teacher_decay, "training.teacher_decay")
        return start + (end - start) * decay(fraction)


def _inverse_sigmoid_decay(fraction: float) -> float:
    """Compute a curve from 0 to 1: slow, fast, slow."""

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-_STEEPNESS * (x - 0.5)))

    return (sigmoid(fraction) - sigmoid(0.0)) / (sigmoid(1.0) - sigmoid(0.0))


def _linear_decay(fraction: float) -> float:
    return fraction


_DECAYS = {"linear": _linear_decay, "inverse-sigmoid": _inverse_sigmoid_decay}


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """Hyperparameters of the optimizer and of the training task."""

    curriculum: Curriculum
    lr: float
    weight_decay: float
    warmup_steps: int
    schedule: str
    total_steps: int = 0
    """Steps of the whole training: known once its samples are counted."""
    clip: float = 0.0
    accumulate: int = 1
    noise: float = 0.0
    ema: float = 0.0
    patience: int = 10
