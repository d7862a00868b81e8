"""Samples: where and when, then the arrays a network learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.streams.read import Source
from pipeline.streams.transforms import Values
from stores.times import Step, Time, Times
from stores.windows import Window


@dataclass(frozen=True, slots=True)
class Sample:
    """Key of one sample: the last frame it reads, and its window."""

    init: Time
    window: Window


@dataclass(frozen=True, slots=True)
class Span:
    """How many frames a sample reads, and how many it forecasts."""

    history: int
    leads: int

    def read_times(self, step: Step, init: Time) -> Times:
        """List the frames of the history, ``init`` last."""
        return step.range(step.add(init, 1 - self.history), init)

    def lead_times(self, step: Step, init: Time) -> Times:
        """List the frames that are forecast."""
        return step.range(step.add(init, 1), step.add(init, self.leads))

    def forcing_times(self, step: Step, init: Time) -> Times:
        """List the frames whose covariates a rollout reads."""
        return step.range(step.add(init, 1 - self.history), step.add(init, self.leads - 1))


def plan_inits(frames: Times, held: Times, span: Span) -> list[Time]:
    """List the inits whose history and leads all lie in one part.

    Args:
        frames: frames of the part, contiguous.
        held: frames that the cube holds.
        span: frames of a sample.
    """
    known = set(held.tolist())
    last = len(frames) - span.leads
    whole = (
        index
        for index in range(span.history - 1, last)
        if known.issuperset(frames[index + 1 - span.history : index + span.leads + 1].tolist())
    )
    return [frames[index] for index in whole]


class Batch(NamedTuple):
    """Arrays of several samples, normalized; invalid values are 0, and ``valid`` says where."""

    target: Values
    """History, then truth of the leads (b, t + leads, y, x)."""
    valid: npt.NDArray[np.bool_]
    """Where the target is usable (b, t + leads, y, x)."""
    forcings: Values
    """Covariates of every frame that is read (b, t + leads - 1, f, y, x)."""
    statics: Values
    """Covariates without a date (b, s, y, x)."""
    domain: npt.NDArray[np.bool_]
    """Where forecasts are made (b, y, x)."""


def load_batch(source: Source, span: Span, samples: Sequence[Sample]) -> Batch:
    """Read and stack the arrays of some samples of one window shape."""
    parts = [_load(source, span, sample) for sample in samples]
    return Batch(*(np.stack(column) for column in zip(*parts, strict=True)))


def batch_loader(source: Source, span: Span) -> partial[Batch]:
    """Give the picklable function that a worker runs to load a batch."""
    return partial(load_batch, source, span)


def _load(source: Source, span: Span, sample: Sample) -> Batch:
    """Read one sample; each array without its batch axis."""
    step = source.open().step
    first, last = step.add(sample.init, 1 - span.history), step.add(sample.init, span.leads)
    target = source.target(sample.window, step.range(first, last))
    valid = np.isfinite(target)
    return Batch(
        target=np.where(valid, target, np.float32(0)),
        valid=valid,
        forcings=source.forcings(
            sample.window, span.forcing_times(step, sample.init), sample.init
        ),
        statics=source.statics(sample.window),
        domain=source.domain(sample.window),
    )
