"""What transforms are fitted from: the training frames of one variable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.streams.axis import TimeAxis
from pipeline.streams.fields import read_field
from pipeline.streams.transforms import TransformSpec, build_chain
from stores.array_types import Float32Array
from stores.cube import Cube
from stores.seasons import Seasons
from stores.times import Times
from stores.windows import Window

FRAMES_AT_ONCE = 32
"""Frames of a block in memory at a time."""


@dataclass(frozen=True)
class VariableFit:
    """What one variable is fitted from: its training frames, and the transforms so far."""

    cube: Path
    fields: Path
    variable: str
    times: tuple[np.datetime64, ...]
    seasons: Seasons
    chain: tuple[TransformSpec, ...] = ()

    def frames(self, window: Window) -> Iterator[tuple[Float32Array, TimeAxis]]:
        """Yield training frames of a window, some at a time (t, y, x), transformed so far."""
        cube = Cube.open(self.cube)
        chain = build_chain(self.chain, lambda name: read_field(self.fields, name, window))
        if cube.variables[self.variable].cadence == "static":
            axis = TimeAxis.undated()
            yield chain.forward(cube.read(self.variable, window)[None], axis), axis
            return
        for start in range(0, len(self.times), FRAMES_AT_ONCE):
            times: Times = np.array(self.times[start : start + FRAMES_AT_ONCE])
            axis = TimeAxis.of(self.seasons, times)
            yield chain.forward(cube.read(self.variable, window, times), axis), axis
