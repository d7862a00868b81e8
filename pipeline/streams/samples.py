"""Samples: where and when a network learns, and which frames that takes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from stores.array_types import IntArray
from stores.times import Step, Time, Times
from stores.windows import Window

if TYPE_CHECKING:  # what reads needs no torch
    from pipeline.models.step_spec import StepSpec


@dataclass(frozen=True, slots=True)
class Sample:
    """Key of one sample: the last frame it reads, and its window."""

    init: Time
    window: Window


@dataclass(frozen=True, eq=False, slots=True)
class PackedSamples:
    """Samples as two arrays: sent to a worker in a seventh of the time of a list."""

    inits: Times
    windows: IntArray
    """Edges of every window (n, 4)."""

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Self:
        """Pack samples."""
        windows = [s.window for s in samples]
        edges = [(w.y0, w.y1, w.x0, w.x1) for w in windows]
        return cls(np.array([s.init for s in samples]), np.array(edges, dtype=np.int64))

    def samples(self) -> list[Sample]:
        """Unpack them, in their order."""
        edges = self.windows.tolist()
        return [Sample(i, Window(*w)) for i, w in zip(self.inits, edges, strict=True)]

    def __str__(self) -> str:
        """Summarize them, for the log of a worker that died over them."""
        first = self.samples()[0]
        return f"{len(self.inits)} samples from {first.init} {first.window}"


@dataclass(frozen=True, slots=True)
class RolloutSpan:
    """How many frames a sample reads, and how many it forecasts.

    What stands after ``leads`` is what the network states of itself (``models.StepSpec``).
    """

    history: int
    leads: int
    emits: int = 1
    """Leads that one call of the network forecasts."""
    ahead: int = 0
    """Frames after its history whose covariates one call reads."""
    first_lead: int = 1
    """First frame that is forecast: 1 is the one after ``init``, 0 is ``init`` itself."""

    @classmethod
    def of(cls, reading: StepSpec, leads: int) -> Self:
        """Return the span of a rollout of a network that reads so."""
        return cls(reading.history, leads, reading.emits, reading.ahead, reading.first_lead)

    @property
    def last_lead(self) -> int:
        """Last frame that is forecast, counted from ``init``."""
        return self.first_lead + self.leads - 1

    def history_times(self, step: Step, init: Time) -> Times:
        """List the frames of the history (t,), ``init`` last."""
        return step.range(step.add(init, 1 - self.history), init)

    def lead_times(self, step: Step, init: Time) -> Times:
        """List the frames that are forecast (leads,)."""
        return step.range(step.add(init, self.first_lead), step.add(init, self.last_lead))

    def forcing_times(self, step: Step, init: Time) -> Times:
        """List the frames whose covariates a rollout reads (n,)."""
        first = step.add(init, 1 - self.history)
        return step.range(first, step.add(first, self.n_forcing_times - 1))

    @property
    def n_forcing_times(self) -> int:
        """Number of frames whose covariates a rollout reads."""
        shifted = (math.ceil(self.leads / self.emits) - 1) * self.emits  # of the last call
        return self.history + shifted + self.ahead


def list_inits(segments: Iterable[Times], available: Times, span: RolloutSpan) -> list[Time]:
    """List the inits whose history and leads all lie in one part, and in one segment of it.

    Args:
        segments: frames of the part, each segment contiguous.
        available: frames that the cube holds (t,).
        span: frames of a sample.
    """
    known = set(available.tolist())
    before = span.history - 1
    after = span.last_lead
    return [
        frames[index]
        for frames in segments
        for index in range(before, len(frames) - after)
        if known.issuperset(frames[index - before : index + after + 1].tolist())
    ]
