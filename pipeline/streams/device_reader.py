"""Everything that samples are read from, as tensors that stay on one device."""

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

_CONCURRENT_READS = 4  # slabs that are decoded while others travel to the device

FrameIndices = IntArray
FramePiece = tuple[SlabReader, slice, Window]
"""Frames among those that stay, and pixels of the grid, that lie in one slab."""


@dataclass(frozen=True, slots=True)
class _DeviceArrays:
    """What stays on the device; frames and maps are (n, y, x)."""

    frames: dict[Hashable, Tensor]
    """Of every variable with a date; the last one is zero, for what is not known yet."""
    valid: Tensor
    """Where the frames of the target are valid (n, y, x)."""
    statics: Tensor
    domain: Tensor
    targets: Tensor
    """Frames of the target that an init reads (init, t)."""
    forcings: Sequence[Tensor]
    """Of each forcing: frames that an init reads (init, n), or the season (init, n, 2)."""


@dataclass(frozen=True, slots=True)
class _PixelIndex:
    """Rows and columns of some windows of one shape (b, px)."""

    y: Tensor
    x: Tensor

    def of(self, maps: Tensor, numbers: Tensor) -> Tensor:
        """Gather maps (n, y, x) by their numbers (b, k): (b, k, y, x)."""
        return maps[numbers[:, :, None, None], self.y[:, None, :, None], self.x[:, None, None]]


class DeviceBatchReader:
    """Every channel of some samples on one device, where batches are gathered from it.

    A batch is bit for bit what ``BatchReader`` reads. Everything travels with the first batch,
    slab by slab, so that this process holds few of them. For a batch, only its inits and the
    corners of its windows travel.

    Args:
        reader: what is read; need not keep a slab.
        samples: all that will be read, or others whose windows hold theirs.
        device: where everything stays.
    """

    def __init__(
        self, reader: BatchReader, samples: Sequence[Sample], device: torch.device
    ) -> None:
        self._reader = reader
        self._device = device
        self._box = Window.bounding({sample.window for sample in samples})
        inits = sorted({sample.init for sample in samples})
        self._rows = {init: row for row, init in enumerate(inits)}
        self._frame_indices: dict[Hashable, FrameIndices] = {
            key: np.array(sorted(indices), dtype=np.int64)
            for key, indices in reader.frame_indices(inits).items()
        }

    @property
    def n_bytes(self) -> int:
        """How much stays on the device [B]."""
        n_frames = sum(len(indices) + 1 for indices in self._frame_indices.values())
        n_valid = len(self._frame_indices[self._reader.target.key])
        n_statics = len(self._reader.channels.statics)
        return self._box.size * (4 * (n_frames + n_statics) + n_valid + 1)

    def read_batch(self, samples: Sequence[Sample]) -> list[Tensor]:
        """Gather some samples of one window shape as tensors in the order of ``Batch``."""
        arrays = self._arrays
        init, pixels = self._find(samples)
        target = arrays.targets[init]  # (b, t)
        statics = torch.arange(len(arrays.statics), device=self._device)[None]
        return [
            pixels.of(arrays.frames[self._reader.target.key], target),
            pixels.of(arrays.valid, target),
            self._forcings(init, pixels),
            pixels.of(arrays.statics, statics),
            pixels.of(arrays.domain, torch.zeros_like(init)[:, None])[:, 0],
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
        reader = self._reader
        channels = reader.channels.forcings
        shape = (pixels.y.shape[1], pixels.x.shape[1])
        out = torch.empty(
            (len(init), reader.span.n_forcing_times, len(channels), *shape), device=self._device
        )
        covariates = zip(reader.forcings, self._arrays.forcings, channels.slices, strict=True)
        for slabs, of_inits, channel in covariates:
            values = of_inits[init]  # frames (b, n), or the season (b, n, 2)
            if slabs:
                out[:, :, channel.start] = pixels.of(self._arrays.frames[slabs.key], values)
            else:
                out[:, :, channel] = values[..., None, None]
        return out

    @cached_property
    def _arrays(self) -> _DeviceArrays:
        """Bring everything to the device."""
        reader = self._reader
        init_frames = [reader.frames_of(init) for init in self._rows]
        n_statics = len(reader.channels.statics)
        statics = np.empty((n_statics, *self._box.shape), dtype=np.float32)
        domain = np.empty(self._box.shape, dtype=bool)
        reader.read_static(statics, domain, self._box)
        frames, valid = self._load_frames()
        of_forcings = zip(*(frames.forcings for frames in init_frames), strict=True)
        forcings = [
            [self._frame_table(slabs, of_init) for of_init in of_inits]
            for slabs, of_inits in zip(reader.forcings, of_forcings, strict=True)
        ]
        targets = [
            np.searchsorted(self._frame_indices[reader.target.key], frames.frame_indices)
            for frames in init_frames
        ]
        return _DeviceArrays(
            frames,
            valid,
            self._to_device(statics),
            self._to_device(domain[None]),
            self._to_device(np.stack(targets)),
            [self._to_device(np.stack(tables)) for tables in forcings],
        )

    def _frame_table(
        self, slabs: SlabReader | None, forcing: ForcingFrames
    ) -> npt.NDArray[np.generic]:
        """Return which frames a forcing reads for one init (n,), or its season (n, 2)."""
        if forcing.seasonal_encoding is not None:
            return forcing.seasonal_encoding
        assert slabs is not None
        indices = self._frame_indices[slabs.key]
        table = np.full(self._reader.span.n_forcing_times, len(indices))  # a frame of zeros
        table[: len(forcing.frame_indices)] = np.searchsorted(indices, forcing.frame_indices)
        return table

    def _load_frames(self) -> tuple[dict[Hashable, Tensor], Tensor]:
        """Bring the frames of every variable to the device, and where the target is valid."""
        shape = self._box.shape
        target = self._reader.target.key
        frames = {
            key: torch.zeros((len(indices) + 1, *shape), device=self._device)
            for key, indices in self._frame_indices.items()
        }
        valid = torch.zeros(
            (len(self._frame_indices[target]), *shape), dtype=torch.bool, device=self._device
        )
        threads = ThreadExecutor(_CONCURRENT_READS)
        for (slabs, frame_slice, window), arrays in threads.map_unordered(
            self._read, self._pieces()
        ):
            destination = (frame_slice, *window.relative_to(self._box).slices)
            values, is_valid = map(torch.from_numpy, arrays)
            frames[slabs.key][destination].copy_(values)
            if slabs.key == target:
                valid[destination].copy_(is_valid)
        return frames, valid

    def _pieces(self) -> Iterator[FramePiece]:
        """Cut all that has a date along the edges of slabs, so that each is read once."""
        for key, slabs in self._reader.dynamic.items():
            runs = slabs.shape.frame_runs(self._frame_indices[key].tolist())
            for window in slabs.shape.windows(self._box):
                for _, _, frame_slice in runs:
                    yield slabs, frame_slice, window

    def _read(self, piece: FramePiece) -> tuple[Float32Array, BoolArray]:
        slabs, frame_slice, window = piece
        indices = self._frame_indices[slabs.key][frame_slice].tolist()
        values = np.empty((len(indices), *window.shape), dtype=np.float32)
        valid = np.empty(values.shape, dtype=bool)
        slabs.read_into(slabs.shape.frame_runs(indices), window, (values, valid))
        return values, valid

    def _to_device(self, array: npt.NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(array).to(self._device)
