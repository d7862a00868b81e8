"""From physical values to the network's space, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from pipeline.registry import look_up
from pipeline.streams.axis import TimeAxis
from pipeline.streams.trend import Trend
from stores.array_types import Float32Array

TransformSpec = Mapping[str, Any]
ReadField = Callable[[str], Float32Array]


class Transform(Protocol):
    """A step that can be undone; NaN stays NaN both ways."""

    def forward(
        self, values: Float32Array, axis: TimeAxis, out: Float32Array | None = None
    ) -> Float32Array:
        """Transform frames (t, y, x) of the given dates (t,), into ``out`` if given."""

    def inverse(self, values: Float32Array, axis: TimeAxis) -> Float32Array:
        """Undo ``forward`` (t, y, x)."""


class Log1p:
    """Natural logarithm of one plus the value; for amounts that are never negative."""

    def forward(
        self, values: Float32Array, axis: TimeAxis, out: Float32Array | None = None
    ) -> Float32Array:
        """Take the logarithm (t, y, x); amounts below zero count as zero."""
        return np.log1p(np.maximum(values, 0, out=out), out=out)

    def inverse(self, values: Float32Array, axis: TimeAxis) -> Float32Array:
        """Take the exponential (t, y, x)."""
        return np.expm1(values)


class Sqrt:
    """Square root; for amounts that are never negative, milder than the logarithm."""

    def forward(
        self, values: Float32Array, axis: TimeAxis, out: Float32Array | None = None
    ) -> Float32Array:
        """Take the root (t, y, x); amounts below zero count as zero."""
        return np.sqrt(np.maximum(values, 0, out=out), out=out)

    def inverse(self, values: Float32Array, axis: TimeAxis) -> Float32Array:
        """Square (t, y, x); a root below zero is an amount of zero."""
        return np.square(np.maximum(values, 0))


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Difference from a climatology (season, y, x)."""

    climatology: Float32Array

    def forward(
        self, values: Float32Array, axis: TimeAxis, out: Float32Array | None = None
    ) -> Float32Array:
        """Subtract the climatology of each frame's season (t, y, x)."""
        return np.subtract(values, self.climatology[axis.seasons], out=out)

    def inverse(self, values: Float32Array, axis: TimeAxis) -> Float32Array:
        """Add the climatology (t, y, x)."""
        return values + self.climatology[axis.seasons]


@dataclass(frozen=True, slots=True)
class Scale:
    """Subtract an offset and divide by a scale: z-scores, and min-max."""

    offset: float
    scale: float

    def forward(
        self, values: Float32Array, axis: TimeAxis, out: Float32Array | None = None
    ) -> Float32Array:
        """Scale to about one (t, y, x)."""
        scaled = np.subtract(values, np.float32(self.offset), out=out, dtype=np.float32)
        return np.divide(scaled, np.float32(self.scale), out=scaled)

    def inverse(self, values: Float32Array, axis: TimeAxis) -> Float32Array:
        """Scale back (t, y, x)."""
        scaled = np.multiply(values, np.float32(self.scale), dtype=np.float32)
        return np.add(scaled, np.float32(self.offset), out=scaled)


@dataclass(frozen=True, slots=True)
class Chain:
    """Transforms in order."""

    steps: Sequence[Transform]

    def forward(
        self, values: Float32Array, axis: TimeAxis, out: Float32Array | None = None
    ) -> Float32Array:
        """Transform physical values (t, y, x) for the network, into ``out`` if given."""
        normalized = values
        for step in self.steps:
            normalized = step.forward(normalized, axis, out)
        return normalized

    def inverse(self, values: Float32Array, axis: TimeAxis) -> Float32Array:
        """Undo all transforms, into physical units (t, y, x)."""
        restored = values
        for step in reversed(self.steps):
            restored = step.inverse(restored, axis)
        return restored


def _build_anomaly(description: TransformSpec, read_field: ReadField) -> Anomaly:
    return Anomaly(read_field(description["field"]))


def _build_scale(description: TransformSpec, read_field: ReadField) -> Scale:
    return Scale(description["offset"], description["scale"])


def _build_trend(description: TransformSpec, *_: Any) -> Trend:
    return Trend(description["slope"], np.datetime64(description["origin"], "s"))


TRANSFORMS: Mapping[str, Callable[[TransformSpec, ReadField], Transform]] = {
    "trend": _build_trend,
    "log1p": lambda *_: Log1p(),
    "sqrt": lambda *_: Sqrt(),
    "anomaly": _build_anomaly,
    "zscore": _build_scale,
    "minmax": _build_scale,
}
"""Every transform by its name in recipes and bundles."""


def build_chain(descriptions: Sequence[TransformSpec], read_field: ReadField) -> Chain:
    """Build a chain from what a bundle says, reading per-pixel fields of one window.

    Raises:
        UnknownOptionError: a transform is not known.
    """
    builders = [(look_up(TRANSFORMS, spec["kind"], "transform"), spec) for spec in descriptions]
    return Chain([build(spec, read_field) for build, spec in builders])


def leading_trend(descriptions: Sequence[TransformSpec]) -> Chain:
    """Build only the trend with which a chain begins, in physical units; empty without one."""
    first = [_build_trend(step) for step in descriptions[:1] if step["kind"] == "trend"]
    return Chain(first)
