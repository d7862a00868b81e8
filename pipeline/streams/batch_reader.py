"""What samples are read from: the slabs of every channel, and the frames of every date."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.streams.axis import TimeAxis
from pipeline.streams.batch import Batch
from pipeline.streams.forcing_policy import resolve_forcing
from pipeline.streams.input_stack import ForcingSpec, StaticSpec, VariableSpec
from pipeline.streams.lru_cache import Arrays, LRUCache
from pipeline.streams.samples import RolloutSpan, Sample
from pipeline.streams.slabs import FrameRuns, SlabGrid, SlabReader, fill_invalid
from pipeline.streams.source import Source, pixel_position, seasonal_encoding
from stores.array_types import BoolArray, Float32Array
from stores.times import Time, Times
from stores.windows import Window

_STATIC_RUNS: FrameRuns = [(0, slice(0, 1), slice(0, 1))]
_CONCURRENT_READS = 2  # threads of a process that read at the same time, each elsewhere
_PIXEL_BYTES = 5  # of a slab: float32 and whether it is valid


@dataclass(frozen=True, slots=True)
class ForcingFrames:
    """One forcing at the dates of one init: frames of a variable, or the season."""

    frame_indices: Sequence[int] = ()
    """Frames that stand for the first dates; for later ones, of which nothing was known, 0."""
    runs: FrameRuns = ()
    seasonal_encoding: Float32Array | None = None
    """Channels of the season (n, 2); None for a variable."""


@dataclass(frozen=True, slots=True)
class InitFrames:
    """What all samples of one init have in common."""

    frame_indices: Sequence[int]
    runs: FrameRuns
    forcings: Sequence[ForcingFrames]


class BatchReader:
    """Every channel of a source as slabs, out of which batches are copied.

    A batch is bit for bit what ``loader.read_batch_directly`` reads. Safe to share between
    threads.

    Args:
        source: what is read.
        span: frames of a sample.
        cache: where slabs stay.
        inits: first and last init of all samples; no frame is read that none of them needs.
    """

    def __init__(
        self,
        source: Source,
        span: RolloutSpan,
        cache: LRUCache,
        inits: tuple[Time, Time] | None = None,
    ) -> None:
        self.cache = cache
        self.span = span
        self._source = source
        self._cube = source.open()
        self._grid = (self._cube.grid.height, self._cube.grid.width)
        self._frames: dict[Time, InitFrames] = {}
        self._variables: list[VariableSpec] = []
        stack = source.stack
        self.channels = stack.channels
        self.target = self._slabs(stack.target)
        self.forcings = [self._slabs_of(forcing) for forcing in stack.forcings]
        self._statics = [self._slabs_of(static) for static in stack.statics]
        self._position = pixel_position(self._grid, Window.from_shape(self._grid))
        domain_grid = SlabGrid.of([0], self._grid, (1, *self.target.shape.slab_shape))
        self._domain = SlabReader("domain", domain_grid, self._read_domain, cache)
        if inits is not None:
            self._limit_frames(inits)

    def _limit_frames(self, inits: tuple[Time, Time]) -> None:
        """Read nothing beyond what the first and the last init need."""
        first, last = (self.frame_indices([init]) for init in inits)
        for slabs in (self.target, *self.forcings):
            if slabs:  # a covariate that has ended, or is not known yet, is not read by all
                low = min(first[slabs.key], default=slabs.shape.start)
                high = max(last[slabs.key], default=slabs.shape.stop - 1)
                slabs.shape = slabs.shape.clip_frames(low, high)
        self._frames.clear()  # where frames stand in a slab follows from where it begins

    @property
    def dynamic(self) -> dict[Hashable, SlabReader]:
        """Slabs of every variable with a date by their keys, the target's first."""
        return {slabs.key: slabs for slabs in (self.target, *self.forcings) if slabs}

    def frame_indices(self, inits: Iterable[Time]) -> dict[Hashable, set[int]]:
        """Collect the frames that some inits read of every variable with a date."""
        frame_indices: dict[Hashable, set[int]] = {key: set() for key in self.dynamic}
        for frames in map(self.frames_of, inits):
            frame_indices[self.target.key].update(frames.frame_indices)
            for slabs, forcing in zip(self.forcings, frames.forcings, strict=True):
                if slabs:
                    frame_indices[slabs.key].update(forcing.frame_indices)
        return frame_indices

    @property
    def slab_shape(self) -> tuple[int, int]:
        """Rows and columns of the target's slabs [px]."""
        return self.target.shape.slab_shape

    def first_frame_index(self, init: Time) -> int:
        """Return the index in the cube of the first frame that a sample reads."""
        return self.frames_of(init).frame_indices[0]

    @property
    def frame_bytes(self) -> int:
        """Size of one frame of every variable in one slab [B]."""
        n_dated = 1 + sum(slabs is not None for slabs in self.forcings)
        return math.prod(self.slab_shape) * _PIXEL_BYTES * n_dated

    def read_batch(self, samples: Sequence[Sample]) -> Batch:
        """Read the arrays of some samples of one window shape."""
        batch = self.allocate(len(samples), samples[0].window)
        self.read_into([(batch.row(index), sample) for index, sample in enumerate(samples)])
        return batch

    def read_into(self, rows: Sequence[tuple[Batch, Sample]]) -> None:
        """Read samples, each into arrays without their batch axis; near ones in a row."""
        widest = max((sample for _, sample in rows), key=self._n_touched_slabs)
        self.cache.raise_budget(
            _CONCURRENT_READS * self.touched_bytes([widest.init], [widest.window])
        )
        for row, sample in sorted(rows, key=lambda item: self._sort_key(item[1])):
            window = sample.window
            frames = self.frames_of(sample.init)
            self.target.read_into(frames.runs, window, (row.target, row.valid))
            self._read_forcings(row.forcings, frames.forcings, window)
            self.read_static(row.statics, row.domain, window)

    def _sort_key(self, sample: Sample) -> tuple[int, int, Time]:
        """Return a key by which samples of the same slabs come one after the other."""
        shape = self.target.shape
        window = sample.window
        return window.y0 // shape.rows, window.x0 // shape.cols, sample.init

    def _n_touched_slabs(self, sample: Sample) -> int:
        return len(self.target.shape.touched_slabs(sample.window))

    def sample_bytes(self, window: Window) -> int:
        """Compute how much the arrays of one sample hold [B]."""
        return sum(array.nbytes for array in self.allocate(1, window))

    def touched_bytes(self, inits: Sequence[Time], windows: Sequence[Window]) -> int:
        """Compute how much all slabs hold that inits touch in windows [B]."""
        dated = self.dynamic
        touched = [(dated[key], frames) for key, frames in self.frame_indices(inits).items()]
        touched += [(slabs, {0}) for slabs in (*self._statics, self._domain) if slabs]
        return sum(
            slabs.touched_bytes(frames, windows, _PIXEL_BYTES) for slabs, frames in touched
        )

    def allocate(self, n: int, window: Window) -> Batch:
        """Allocate arrays for samples of a window's shape."""
        shape = window.shape
        n_frames = self.span.history + self.span.leads
        forcings = (n, self.span.n_forcing_times, len(self.channels.forcings), *shape)
        return Batch(
            target=np.empty((n, n_frames, *shape), dtype=np.float32),
            valid=np.empty((n, n_frames, *shape), dtype=bool),
            forcings=np.empty(forcings, dtype=np.float32),
            statics=np.empty((n, len(self.channels.statics), *shape), dtype=np.float32),
            domain=np.empty((n, *shape), dtype=bool),
        )

    def _read_forcings(
        self, out: Float32Array, forcings: Sequence[ForcingFrames], window: Window
    ) -> None:
        """Read forcings (n, f, y, x) in the order of their channels."""
        channels = self.channels.forcings.slices
        for slabs, forcing, channel in zip(self.forcings, forcings, channels, strict=True):
            if forcing.seasonal_encoding is not None:
                out[:, channel] = forcing.seasonal_encoding[:, :, None, None]
            elif slabs:
                slabs.read_into(forcing.runs, window, (out[:, channel.start],))
                out[len(forcing.frame_indices) :, channel] = 0.0

    def read_static(self, out: Float32Array, domain: BoolArray, window: Window) -> None:
        """Read statics (s, y, x) in the order of their channels, and the domain (y, x)."""
        self._domain.read_into(_STATIC_RUNS, window, (domain[None],))
        for slabs, channel in zip(self._statics, self.channels.statics.slices, strict=True):
            if slabs:
                slabs.read_into(_STATIC_RUNS, window, (out[channel],))
            else:
                out[channel] = [position[window.slices] for position in self._position]

    def frames_of(self, init: Time) -> InitFrames:
        """Return which frames an init reads."""
        if init not in self._frames:
            step = self._cube.step
            span = self.span
            target = self._source.stack.target
            history = span.history_times(step, init)
            leads = span.lead_times(step, init)
            target_times = np.concatenate([history, leads])
            indices = self._cube.frame_indices(target.variable, target_times)
            times = span.forcing_times(step, init)
            forcings = zip(self._source.stack.forcings, self.forcings, strict=True)
            runs = self.target.shape.frame_runs(indices)
            self._frames[init] = InitFrames(
                indices,
                runs,
                [self._forcing_frames(f, slabs, times, init) for f, slabs in forcings],
            )
        return self._frames[init]

    def _forcing_frames(
        self, forcing: ForcingSpec, slabs: SlabReader | None, times: Times, init: Time
    ) -> ForcingFrames:
        if forcing.series is None or slabs is None:
            return ForcingFrames(seasonal_encoding=seasonal_encoding(self._cube.step, times))
        name = forcing.series.variable
        cube = self._cube
        dates = resolve_forcing(forcing, cube.dates[name], cube.step, times, init)
        indices = cube.frame_indices(name, dates.times)
        return ForcingFrames(indices, slabs.shape.frame_runs(indices))

    def _slabs_of(self, covariate: ForcingSpec | StaticSpec) -> SlabReader | None:
        return self._slabs(covariate.series) if covariate.series else None

    def _slabs(self, series: VariableSpec) -> SlabReader:
        """Return the slabs of a variable in the network's space; equal series share theirs."""
        if series not in self._variables:
            self._variables.append(series)
        name = series.variable
        cube = self._cube
        is_static = cube.variables[name].cadence == "static"
        indices = [0] if is_static else cube.frame_indices(name)
        shape = SlabGrid.of(indices, self._grid, cube.chunk_shape(name))

        def read(start: int, stop: int, window: Window) -> Arrays:
            values = cube.read_indices(name, window, start, stop)
            axis = TimeAxis.undated(stop - start)
            if cube.variables[name].cadence == "step":
                axis = self._source.axis(cube.times[start:stop])
            chain = self._source.chain(series, window)
            return fill_invalid(chain.forward(values, axis, out=values))

        return SlabReader(self._variables.index(series), shape, read, self.cache)

    def _read_domain(self, start: int, stop: int, window: Window) -> Arrays:
        return (self._source.domain(window)[None],)
