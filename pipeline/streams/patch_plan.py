"""The patches of every epoch: a pure function of (recipe, cube, seed, epoch)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.streams.samples import Sample
from pipeline.tiling.patches import PatchConstraint, jitter_patch
from stores.array_types import Float64Array, IntArray
from stores.formatting import pluralize
from stores.times import Step
from stores.windows import Window

SamplingWeights = Float64Array

BUFFER = 4096
_SECOND = Step(1, "second")


@dataclass(frozen=True, eq=False)
class PatchPlan:
    """All samples of a part, and which of them an epoch takes, where and in which order."""

    samples: tuple[Sample, ...]
    seed: int | None = None
    """Of every choice; None takes the samples in their order, unmoved."""
    per_epoch: int | None = None
    """Samples of an epoch; all by default."""
    weights: SamplingWeights | None = None
    """How often samples are drawn, relative to each other (n,); equally often by default."""
    jitter_px: int = 0
    """Farthest move of a patch along one axis [px]."""
    constraint: PatchConstraint | None = None
    """Where moved patches may lie."""
    buffer: int = BUFFER
    """Samples that are shuffled together when an epoch has more of them."""
    cube_version: str = ""
    """Version of the cube whose dates, domain and weights these are."""
    step: Step = _SECOND
    """Distance between two frames: how precisely dates are written."""

    @property
    def n_drawn(self) -> int:
        """Samples of an epoch."""
        return min(self.per_epoch or len(self.samples), len(self.samples))

    @property
    def read_windows(self) -> tuple[Sample, ...]:
        """All samples with the windows that some epoch may read."""
        if self.constraint is None or not self.jitter_px:
            return self.samples
        grid = Window.from_shape(
            (self.constraint.domain.shape[0], self.constraint.domain.shape[1])
        )
        windows = {s.window: s.window.grow(self.jitter_px).clip(grid) for s in self.samples}
        return tuple(replace(s, window=windows[s.window]) for s in self.samples)

    def sample_epoch(self, epoch: int) -> list[Sample]:
        """List the samples of an epoch, counted from 0, in the order of its shuffle."""
        if self.seed is None:
            return list(self.samples[: self.n_drawn])
        rng = np.random.default_rng([self.seed, epoch])
        drawn = [self.samples[index] for index in self._choose(rng)]
        if self.constraint is None or not self.jitter_px:
            return drawn
        moved = (
            jitter_patch(s.window, self.constraint, max_px=self.jitter_px, rng=rng)
            for s in drawn
        )
        return [replace(s, window=window) for s, window in zip(drawn, moved, strict=True)]

    def _choose(self, rng: np.random.Generator) -> IntArray:
        if self.weights is None:
            return rng.permutation(len(self.samples))[: self.n_drawn]
        # Systematic: a sample comes as often as its weight says, rounded up or down.
        cumulative = np.cumsum(self.weights / self.weights.sum()) * self.n_drawn
        positions = rng.random() + np.arange(self.n_drawn)
        indices = np.minimum(
            np.searchsorted(cumulative, positions, side="right"), len(cumulative) - 1
        )
        return rng.permutation(indices)

    def describe(self, epoch: int = 0, *, n_rows: int = 8) -> str:
        """Describe an epoch: how many samples of how many, and its first (time, y, x)."""
        drawn = self.sample_epoch(epoch)
        inits = sorted({sample.init for sample in drawn})
        step = self.step
        lines = [
            f"epoch {epoch + 1} of cube {self.cube_version[:12] or '-'}, seed {self.seed}: "
            f"{pluralize(len(drawn), 'patch')} ({len(set(drawn))} different) of "
            f"{len(self.samples)}, {pluralize(len(inits), 'init')} from "
            f"{step.label_range(inits[0], inits[-1])}",
            f"{'time':20s} {'y':>13s} {'x':>13s}",
        ]
        for sample in drawn[:n_rows]:
            y, x = (f"{a}:{b}" for a, b in _sides(sample.window))
            lines.append(f"{step.format(sample.init):20s} {y:>13s} {x:>13s}")
        rest = len(drawn) - n_rows
        return "\n".join([*lines, f"and {rest} more"] if rest > 0 else lines)


def _sides(window: Window) -> Sequence[tuple[int, int]]:
    return (window.y0, window.y1), (window.x0, window.x1)
