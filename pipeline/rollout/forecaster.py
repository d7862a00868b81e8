"""A model ready to forecast: the network of a bundle and the cube it looks at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.models import ConvLSTM, build_network
from pipeline.models.roll import Inputs, roll
from pipeline.streams.fields import FIELDS
from pipeline.streams.read import Source
from pipeline.streams.samples import Span
from pipeline.streams.stack import Stack
from pipeline.streams.transforms import Values
from pipeline.tiling.plan import Tile
from stores.bundle import open_bundle
from stores.times import Time


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

    def normalized(self, tiles: list[Tile], request: Request) -> Values:
        """Roll tiles of one shape together (b, leads, y, x), in the network's space."""
        parts = [self._inputs(tile, request) for tile in tiles]
        inputs = Inputs(
            *(self._tensor(np.stack(column)) for column in zip(*parts, strict=True))
        )
        with torch.inference_mode():
            frames = roll(self.network, inputs, leads=request.leads)
        return frames.float().cpu().numpy()

    def physical(self, tiles: list[Tile], request: Request) -> list[Values]:
        """Forecast what tiles own (leads, y, x) in physical units; NaN outside the domain."""
        span = Span(self.history, request.leads)
        times = span.lead_times(self.source.open().step, request.init)
        frames = self.normalized(tiles, request)
        return [
            self._owned(tile, rolled, times, request)
            for tile, rolled in zip(tiles, frames, strict=True)
        ]

    def _inputs(self, tile: Tile, request: Request) -> tuple[npt.NDArray[Any], ...]:
        source, step = self.source, self.source.open().step
        span, window = Span(self.history, request.leads), tile.reads
        target = source.target(window, span.read_times(step, request.init))
        valid = np.isfinite(target)
        forcings = source.forcings(window, span.forcing_times(step, request.init), request.init)
        return (
            np.where(valid, target, np.float32(0)),
            valid,
            forcings,
            source.statics(window),
            source.domain(window),
        )

    def _owned(self, tile: Tile, rolled: Values, times: Any, request: Request) -> Values:
        kept = rolled[:, *tile.kept.slices]
        values = self.source.restore(kept, tile.owns, times)
        if request.minimum is not None or request.maximum is not None:
            values = np.clip(values, request.minimum, request.maximum)
        return np.where(self.source.domain(tile.owns), values, np.float32(np.nan))

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
