"""Everything that samples are cut from, as tensors that stay on one device."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.executors import ThreadExecutor
from pipeline.streams.batch_reader import BatchReader, ForcingFrames
from pipeline.streams.samples import Sample
from pipeline.streams.slabs import SlabReader
from stores.array_types import BoolArray, Float32Array, IntArray
from stores.windows import Window

_AT_ONCE = 4  # slabs that are decoded while others travel to the device

FrameIndices = IntArray
FramePiece = tuple[SlabReader, slice, Window]
"""Frames among those that stay, and pixels of the grid, that lie in one slab."""


@dataclass(frozen=True, slots=True)
class _DeviceArrays:
    """What stays on the device; frames and maps are (n, y, x)."""

    frames: dict[Hashable, Tensor]
    """Of every variable with a date; the last one is zero, for what is not known yet."""
    valid: Tensor
    """Where the frames of the target are usable."""
    statics: Tensor
    domain: Tensor
    targets: Tensor
    """Frames of the target that an init wants (init, t)."""
    forced: Sequence[Tensor]
    """Of each forcing: the frames that an init wants (init, n), or waves (init, n, wave)."""


@dataclass(frozen=True, slots=True)
class _PixelIndex:
    """Rows and columns of some windows of one shape (b, px)."""

    y: Tensor
    x: Tensor

    def of(self, maps: Tensor, numbers: Tensor) -> Tensor:
        """Gather those of the maps (n, y, x) that have some numbers (b, k): (b, k, y, x)."""
        return maps[numbers[:, :, None, None], self.y[:, None, :, None], self.x[:, None, None]]


class DeviceBatchReader:
    """Every channel of some samples on one device, where batches are gathered from it.

    What is cut is bit for bit what ``BatchReader`` cut. Everything travels with the first batch,
    slab by slab, so that this process holds few of them. For a batch, only its inits and the
    corners of its windows travel.

    Args:
        layers: what is read; need not keep a slab.
        samples: all that will be cut, or others whose windows hold theirs.
        device: where everything stays.
    """

    def __init__(
        self, layers: BatchReader, samples: Sequence[Sample], device: torch.device
    ) -> None:
        self._layers = layers
        self._device = device
        self._box = Window.bounding({sample.window for sample in samples})
        inits = sorted({sample.init for sample in samples})
        self._rows = {init: row for row, init in enumerate(inits)}
        self._places: dict[Hashable, FrameIndices] = {
            key: np.array(sorted(places), dtype=np.int64)
            for key, places in layers.frame_indices(inits).items()
        }

    @property
    def n_bytes(self) -> int:
        """How much stays on the device [B]."""
        n_frames = sum(len(places) + 1 for places in self._places.values())
        n_valid = len(self._places[self._layers.target.key])
        n_statics = len(self._layers.channels.statics)
        return self._box.size * (4 * (n_frames + n_statics) + n_valid + 1)

    def read_batch(self, samples: Sequence[Sample]) -> list[Tensor]:
        """Cut some samples of one window shape into tensors in the order of ``Batch``."""
        held = self._held
        init, pixels = self._find(samples)
        target = held.targets[init]  # (b, t)
        still = torch.arange(len(held.statics), device=self._device)[None]
        return [
            pixels.of(held.frames[self._layers.target.key], target),
            pixels.of(held.valid, target),
            self._forcings(init, pixels),
            pixels.of(held.statics, still),
            pixels.of(held.domain, torch.zeros_like(init)[:, None])[:, 0],
        ]

    def _find(self, samples: Sequence[Sample]) -> tuple[Tensor, _PixelIndex]:
        """Bring the inits (b,) and the corners of samples to the device."""
        box = self._box
        height, width = samples[0].window.shape
        keys = [
            (self._rows[s.init], s.window.y0 - box.y0, s.window.x0 - box.x0) for s in samples
        ]
        init, y, x = torch.tensor(keys).T.to(self._device)
        rows, cols = (torch.arange(px, device=self._device) for px in (height, width))
        return init, _PixelIndex(y[:, None] + rows, x[:, None] + cols)

    def _forcings(self, init: Tensor, pixels: _PixelIndex) -> Tensor:
        """Gather forcings (b, n, f, y, x) in the order of their channels."""
        layers = self._layers
        channels = layers.channels.forcings
        shape = (pixels.y.shape[1], pixels.x.shape[1])
        out = torch.empty(
            (len(init), layers.span.n_forcing_times, len(channels), *shape), device=self._device
        )
        covariates = zip(layers.forcings, self._held.forced, channels.slices, strict=True)
        for slabs, forced, place in covariates:
            wanted = forced[init]  # frames (b, n), or waves (b, n, wave)
            if slabs:
                out[:, :, place.start] = pixels.of(self._held.frames[slabs.key], wanted)
            else:
                out[:, :, place] = wanted[..., None, None]
        return out

    @cached_property
    def _held(self) -> _DeviceArrays:
        """Bring everything to the device."""
        layers = self._layers
        dates = [self._layers.frames_of(init) for init in self._rows]
        n_statics = len(layers.channels.statics)
        statics = np.empty((n_statics, *self._box.shape), dtype=np.float32)
        domain = np.empty(self._box.shape, dtype=bool)
        layers.read_static(statics, domain, self._box)
        frames, valid = self._bring_frames()
        forced = [
            [self._table(slabs, given) for given in every]
            for slabs, *every in zip(layers.forcings, *(d.forced for d in dates), strict=True)
        ]
        targets = [np.searchsorted(self._places[layers.target.key], d.places) for d in dates]
        return _DeviceArrays(
            frames,
            valid,
            self._there(statics),
            self._there(domain[None]),
            self._there(np.stack(targets)),
            [self._there(np.stack(tables)) for tables in forced],
        )

    def _table(self, slabs: SlabReader | None, given: ForcingFrames) -> npt.NDArray[np.generic]:
        """Return which frames a forcing wants for one init (n,), or its waves (n, wave)."""
        if given.seasonal_encoding is not None:
            return given.seasonal_encoding
        assert slabs is not None
        places = self._places[slabs.key]
        numbers = np.full(self._layers.span.n_forcing_times, len(places))  # a frame of zeros
        numbers[: len(given.places)] = np.searchsorted(places, given.places)
        return numbers

    def _bring_frames(self) -> tuple[dict[Hashable, Tensor], Tensor]:
        """Bring the frames of every variable to the device, and where the target is valid."""
        shape = self._box.shape
        target = self._layers.target.key
        frames = {
            key: torch.zeros((len(places) + 1, *shape), device=self._device)
            for key, places in self._places.items()
        }
        valid = torch.zeros(
            (len(self._places[target]), *shape), dtype=torch.bool, device=self._device
        )
        threads = ThreadExecutor(_AT_ONCE)
        for (slabs, given, window), arrays in threads.map_unordered(self._read, self._pieces()):
            here = (given, *window.relative_to(self._box).slices)
            values, usable = map(torch.from_numpy, arrays)
            frames[slabs.key][here].copy_(values)
            if slabs.key == target:
                valid[here].copy_(usable)
        return frames, valid

    def _pieces(self) -> Iterator[FramePiece]:
        """Cut all that has a date along the edges of slabs, so that each is read once."""
        for key, slabs in self._layers.dynamic.items():
            runs = slabs.shape.frame_runs(self._places[key].tolist())
            for window in slabs.shape.windows(self._box):
                for _, _, given in runs:
                    yield slabs, given, window

    def _read(self, piece: FramePiece) -> tuple[Float32Array, BoolArray]:
        slabs, given, window = piece
        places = self._places[slabs.key][given].tolist()
        values = np.empty((len(places), *window.shape), dtype=np.float32)
        valid = np.empty(values.shape, dtype=bool)
        slabs.read_into(slabs.shape.frame_runs(places), window, (values, valid))
        return values, valid

    def _there(self, array: npt.NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(array).to(self._device)
