"""What changes with the step or the epoch: the rate, the leads, the share of truth."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.registry import look_up

_FACTOR, _PATIENCE = 0.5, 5  # plateau, as the XCO2 and precipitation systems used it
_MIN_IMPROVEMENT = 1e-4  # a plateau is a fall by less than this share
_STEEPNESS = 10.0  # of the inverse sigmoid: flat at both ends of the training


def lr_factor(step: int, *, kind: str, warmup_steps: int, total_steps: int) -> float:
    """Give the share of the largest rate at ``step``: a linear warm-up, then a way down.

    Source: cosine of Loshchilov and Hutter (2017), eq. 5 without restarts.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return look_up(_SCHEDULES, kind, "training.schedule")(done)


def _cosine(done: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def _constant(done: float) -> float:
    return 1.0


_SCHEDULES = {"cosine": _cosine, "plateau": _constant, "constant": _constant}
"""Share of the largest rate behind the warm-up; a plateau is found by the scores."""


@dataclass
class PlateauScheduler:
    """Halve the rate when the score has not fallen for some epochs."""

    factor: float = 1.0
    """Share of the largest rate now."""
    best: float = math.inf
    n_bad: int = 0

    def step(self, score: float) -> None:
        """Look at the score of one epoch."""
        if score < self.best * (1 - _MIN_IMPROVEMENT):
            self.best, self.n_bad = score, 0
            return
        self.n_bad += 1
        if self.n_bad > _PATIENCE:
            self.factor, self.n_bad = self.factor * _FACTOR, 0

    def state_dict(self) -> dict[str, Any]:
        """Give what has to be kept."""
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
    """Chance of the truth in place of a rolled-out frame, in the first and the last epoch."""
    teacher_decay: str = "linear"

    def leads_at(self, epoch: int) -> int:
        """Count the leads rolled out in ``epoch``, counted from 0."""
        return min(self.leads, self.leads_start + epoch // self.leads_every)

    def is_growing_at(self, epoch: int) -> bool:
        """Tell whether ``epoch`` rolls out fewer leads than later ones."""
        return self.leads_at(epoch) < self.leads

    def log_row_at(self, epoch: int) -> dict[str, float]:
        """Give what this epoch was asked, where that changes from epoch to epoch."""
        row: dict[str, float] = {}
        if self.leads_start < self.leads:
            row["leads"] = self.leads_at(epoch)
        if any(self.teacher):
            row["teacher"] = self.teacher_probability_at(epoch)
        return row

    def teacher_probability_at(self, epoch: int) -> float:
        """Give the chance that a rolled-out frame is replaced by the truth.

        Source: scheduled sampling of Bengio et al. (2015), section 2.4. Their inverse sigmoid
        has one free parameter and no end; ours is scaled so that the first and the last epoch
        have exactly the chances that were asked for.
        """
        start, end = self.teacher
        done = min(1.0, epoch / max(1, self.epochs - 1))
        done = look_up(_DECAYS, self.teacher_decay, "training.teacher_decay")(done)
        return start + (end - start) * done


def _inverse_sigmoid_decay(done: float) -> float:
    """Bend the way from 0 to 1: slow, fast, slow."""

    def sigmoid(at: float) -> float:
        return 1 / (1 + math.exp(-_STEEPNESS * (at - 0.5)))

    return (sigmoid(done) - sigmoid(0.0)) / (sigmoid(1.0) - sigmoid(0.0))


def _linear_decay(done: float) -> float:
    return done


_DECAYS = {"linear": _linear_decay, "inverse-sigmoid": _inverse_sigmoid_decay}
