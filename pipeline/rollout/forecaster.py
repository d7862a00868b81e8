"""A model ready to forecast: the network of a bundle and the cube it looks at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.models import ConvLSTM, build_network
from pipeline.models.roll import Inputs, roll
from pipeline.rollout.plan import Block
from pipeline.streams.fields import FIELDS
from pipeline.streams.read import Source
from pipeline.streams.samples import Span
from pipeline.streams.stack import Stack
from pipeline.streams.transforms import Values
from pipeline.tiling.plan import Tile
from stores.bundle import open_bundle
from stores.times import Time, Times
from stores.windows import Window

Arrays = tuple[npt.NDArray[Any], ...]
Earlier = Callable[[Window, int, int], Values]


@dataclass(frozen=True, slots=True)
class Request:
    """What one rollout is made of. Small and picklable: workers open what it names."""

    bundle: Path
    cube: Path
    init: Time
    leads: int
    minimum: float | None = None
    maximum: float | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class Forecaster:
    """Network, channels and device of one process."""

    network: ConvLSTM
    source: Source
    history: int
    device: torch.device

    def read(
        self, tile: Tile, request: Request, block: Block, earlier: Earlier | None = None
    ) -> Arrays:
        """Read what one tile of one block looks at, at the true date of every frame.

        Args:
            tile: window to read.
            request: the forecast it belongs to.
            block: leads to roll out.
            earlier: reads the normalized leads of earlier blocks; not needed by the first.
        """
        source, step, window = self.source, self.source.open().step, tile.reads
        span, start = Span(self.history, block.leads), step.add(request.init, block.first)
        target, valid = self._history(window, span.read_times(step, start), block, earlier)
        # What was known is known at init, whichever block asks.
        forcings = source.forcings(window, span.forcing_times(step, start), request.init)
        return target, valid, forcings, source.statics(window), source.domain(window)

    def roll(self, parts: Sequence[Arrays], leads: int) -> Values:
        """Roll windows of one shape together (b, leads, y, x), in the network's space."""
        columns = zip(*parts, strict=True)
        inputs = Inputs(*(self._tensor(np.stack(column)) for column in columns))
        with torch.inference_mode():
            frames = roll(self.network, inputs, leads=leads)
        return frames.float().cpu().numpy()

    def restore(self, tile: Tile, owned: Values, request: Request, block: Block) -> Values:
        """Bring what a tile owns to physical units (leads, y, x); NaN outside the domain."""
        step = self.source.open().step
        times = Span(self.history, block.leads).lead_times(
            step, step.add(request.init, block.first)
        )
        values = self.source.restore(owned, tile.owns, times)
        if request.minimum is not None or request.maximum is not None:
            values = np.clip(values, request.minimum, request.maximum)
        return np.where(self.source.domain(tile.owns), values, np.float32(np.nan))

    def normalized(self, tiles: Sequence[Tile], request: Request) -> Values:
        """Roll all leads of tiles of one shape in one block (b, leads, y, x)."""
        block = Block(0, request.leads)
        return self.roll([self.read(tile, request, block) for tile in tiles], block.leads)

    def physical(self, tiles: Sequence[Tile], request: Request) -> list[Values]:
        """Forecast all leads of what tiles own in one block (leads, y, x)."""
        block = Block(0, request.leads)
        rolled = self.normalized(tiles, request)
        return [
            self.restore(tile, frames[:, *tile.kept.slices], request, block)
            for tile, frames in zip(tiles, rolled, strict=True)
        ]

    def _history(
        self, window: Window, times: Times, block: Block, earlier: Earlier | None
    ) -> tuple[Values, npt.NDArray[np.bool_]]:
        """Read the frames before a block (t, y, x): observed ones, then earlier leads."""
        n_rolled = min(block.first, self.history)
        target = np.empty((0, *window.shape), dtype=np.float32)
        if n_rolled < self.history:
            target = self.source.target(window, times[: self.history - n_rolled])
        valid = np.isfinite(target)
        target = np.where(valid, target, np.float32(0))
        if n_rolled:
            assert earlier is not None
            domain = self.source.domain(window)[None]
            rolled = earlier(window, block.first - n_rolled, block.first)
            target = np.concatenate([target, np.where(domain, rolled, np.float32(0))])
            valid = np.concatenate([valid, np.broadcast_to(domain, rolled.shape)])
        return target, valid

    def _tensor(self, array: npt.NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


@lru_cache(maxsize=2)
def open_forecaster(bundle_path: Path, cube: Path, device: str) -> Forecaster:
    """Open a bundle for one cube, once per process."""
    bundle = open_bundle(bundle_path)
    description = bundle.description
    network = build_network(description["network"], bundle.load_weights())
    source = Source(cube, bundle_path / FIELDS, Stack.from_json(description["stack"]))
    return Forecaster(
        network.to(device), source, int(description["network"]["history"]), torch.device(device)
    )


def pick_device(wanted: str) -> str:
    """Choose where networks run: a GPU where there is one.

    Raises:
        ValueError: a GPU is asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "compute.device='cuda', but torch sees no GPU, so nothing could run there; "
            "set compute.device=cpu, or install torch with CUDA (see README)"
        )
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wanted
