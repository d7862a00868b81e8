"""What a network states of itself, so that one loop rolls out every family."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from pipeline.models.quantiles import median_index


@dataclass(frozen=True, slots=True)
class StepSpec:
    """Which frames one call of a network reads, and which it forecasts.

    A call whose history ends at ``now`` reads ``history`` frames up to ``now`` and ``ahead``
    after it, all with their covariates. The target is known before the first frame that the
    call forecasts and is invalid from there on, so no network can read what it has to forecast.
    The next call reads ``emits`` frames later.
    """

    history: int
    """Frames up to ``now``."""
    emits: int = 1
    """Frames that one call forecasts."""
    ahead: int = 0
    """Frames after ``now`` whose covariates are read: known future forcings."""
    feeds_back: bool = True
    """Whether later calls read the target forecast by earlier ones."""
    first_lead: int = 1
    """First frame that a call forecasts: 1 is the one after ``now``, 0 that of ``now``."""
    carries: bool = False
    """Whether the network keeps its memory between calls: later ones read only new frames."""
    quantiles: tuple[float, ...] = ()
    """Which quantiles of each frame a call forecasts, rising; none where it is one value."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "quantiles", tuple(self.quantiles))  # as JSON they are a list
        median_index(self.quantiles)
        if min(self.history, self.emits) < 1 or self.ahead < 0:
            raise ValueError(
                f"history={self.history} and emits={self.emits} must be 1 or more and "
                f"ahead={self.ahead} 0 or more, or a call reads or gives nothing; change them"
            )
        if self.first_lead not in (0, 1):
            raise ValueError(
                f"first_lead={self.first_lead} is neither 0 (the map of now) nor 1 (the next "
                "frame), so frames between would never be forecast; choose one of them"
            )
        if self.carries and not self.is_sliding:
            raise ValueError(
                f"carries=True with emits={self.emits}, ahead={self.ahead} and first_lead="
                f"{self.first_lead} would keep frames before their target is known, so later "
                "calls could not read it; carry a memory with emits=1, ahead=0 and first_lead=1"
            )

    @property
    def n_frames(self) -> int:
        """Frames that one call reads."""
        return self.history + self.ahead

    @property
    def n_known_frames(self) -> int:
        """Frames of them in which the target may be valid."""
        return self.history - 1 + self.first_lead

    @property
    def is_sliding(self) -> bool:
        """Whether windows slide by one frame, and no frame changes once it was read."""
        return self.emits == 1 and self.ahead == 0 and self.first_lead == 1

    @property
    def n_outputs(self) -> int:
        """Values of one pixel and frame that a call forecasts."""
        return max(1, len(self.quantiles))

    @property
    def median_index(self) -> int:
        """Which of them is the forecast, and is fed back."""
        return median_index(self.quantiles)

    def n_forcing_frames(self, leads: int) -> int:
        """Count the frames whose covariates a rollout of ``leads`` reads."""
        return (math.ceil(leads / self.emits) - 1) * self.emits + self.n_frames


@runtime_checkable
class ForecastModel(Protocol):
    """A network that states how it reads."""

    @property
    def reading(self) -> StepSpec:
        """Which frames one call reads and forecasts."""

    def __call__(self, frames: Tensor, /) -> Tensor:
        """Compute frames (b, emits, y, x) from frames (b, window, c, y, x).

        A network of quantiles gives frames (b, emits, q, y, x). Where a call gives one frame,
        its axis may be left out.
        """
