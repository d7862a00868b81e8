"""Load samples block by block: each chunk is decoded once, then cut into all its samples."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.executors import available_bytes
from pipeline.streams.batch import Batch
from pipeline.streams.batch_reader import BatchReader
from pipeline.streams.lru_cache import LRUCache
from pipeline.streams.samples import RolloutSpan, Sample
from pipeline.streams.source import Source
from stores.digests import canonical_json
from stores.times import Time
from stores.windows import Window

SLAB_CACHE_BYTES = 512 << 20
"""Decoded slabs that a process keeps, if half of what it may still take holds them."""
READ_BYTES = 32 << 20
"""Samples that one task sends: many in flight, few calls."""
_SLABS_PER_CORNER = 4  # slabs that a patch at a corner touches
_OPEN = 2  # sources whose slabs a process keeps: one to train on, one to spare

BlockKey = tuple[int, int, int]


@dataclass(frozen=True)
class BlockLoader:
    """Loads samples in any number; cheapest when they lie in one block. Small and picklable.

    Args:
        source: what is read.
        span: frames of a sample.
        worker_bytes: decoded slabs that a process keeps for its next samples [B]; never less
            than one sample is cut from.
        inits: first and last init of all samples, so that no frame of another part is read.
    """

    source: Source
    span: RolloutSpan
    worker_bytes: int = SLAB_CACHE_BYTES
    inits: tuple[Time, Time] | None = None

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """Load the arrays of some samples of one window shape."""
        return self._reader().read_batch(samples)

    def empty(self, n: int, window: Window) -> Batch:
        """Allocate arrays for samples of a window's shape."""
        return self._reader().allocate(n, window)

    def fill(self, rows: Sequence[tuple[Batch, Sample]]) -> None:
        """Load samples, each into arrays without their batch axis."""
        self._reader().read_into(rows)

    def block_keys(self, samples: Sequence[Sample]) -> list[BlockKey]:
        """Return the block that each sample is read with: dates, row and column of slabs.

        Blocks follow from the cube's chunks and the samples alone, because orders follow from
        blocks: no budget of a machine may change them.
        """
        reader = self._reader()
        rows, cols = reader.slab_shape
        n_inits = self._inits_per_block(samples[0].window)
        return [
            (
                reader.first_frame_index(sample.init) // n_inits,
                (sample.window.y0 + sample.window.y1) // 2 // rows,
                (sample.window.x0 + sample.window.x1) // 2 // cols,
            )
            for sample in samples
        ]

    def _inits_per_block(self, window: Window) -> int:
        """Compute how many inits a block spans: few reads, with slabs in a usual budget."""
        reader = self._reader()
        height, width = window.shape
        rows, cols = reader.slab_shape
        columns = math.ceil(rows / height) * math.ceil(cols / width)
        frames = SLAB_CACHE_BYTES // (2 * _SLABS_PER_CORNER * reader.frame_bytes)
        n_frames = self.span.history + self.span.leads
        return max(1, min(self.samples_per_read(window) // columns, frames - n_frames + 1))

    def samples_per_read(self, window: Window) -> int:
        """Compute how many samples of a window's shape one task loads at most."""
        return max(1, READ_BYTES // self.sample_bytes(window))

    def sample_bytes(self, window: Window) -> int:
        """Compute how much the arrays of one sample hold [B]."""
        return self._reader().sample_bytes(window)

    def decoded_bytes(self, samples: Sequence[Sample]) -> int:
        """Compute how much everything holds that samples are cut from, decoded [B]."""
        inits = sorted({sample.init for sample in samples})
        windows = sorted({sample.window for sample in samples})
        return self._reader().touched_bytes(inits, windows)

    def open_reader(self, cache_bytes: int) -> BatchReader:
        """Open a reader with slabs of its own, kept within a budget [B]."""
        return BatchReader(self.source, self.span, LRUCache(cache_bytes), self.inits)

    def _reader(self) -> BatchReader:
        """Open the reader that this process shares between calls."""
        source = self.source
        stack = canonical_json(source.stack.to_json())
        committed = (source.cube / "zarr.json").stat().st_mtime_ns
        key = (source.cube, committed, source.fields, stack, *self._cache_key)
        # Measured once: a worker that keeps more than fits is killed.
        return _READERS.open(
            key, lambda: self.open_reader(min(self.worker_bytes, available_bytes() // 2))
        )

    @property
    def _cache_key(self) -> tuple[object, ...]:
        return self.span, self.worker_bytes, self.inits


def make_loader(
    source: Source,
    span: RolloutSpan,
    *,
    worker_bytes: int = SLAB_CACHE_BYTES,
    samples: Sequence[Sample] = (),
) -> BlockLoader:
    """Build the picklable function that a worker runs to load samples.

    Args:
        source: what is read.
        span: frames of a sample.
        worker_bytes: decoded chunks that a worker keeps for its next samples [B].
        samples: all that will be loaded, so that no frame before or after them is read.
    """
    inits = {sample.init for sample in samples}
    first_and_last = (min(inits), max(inits)) if inits else None
    return BlockLoader(source, span, worker_bytes, first_and_last)


def read_batch_directly(source: Source, span: RolloutSpan, samples: Sequence[Sample]) -> Batch:
    """Read the arrays of some samples of one window shape directly, one after the other.

    This is what the other ways to a batch have to equal, bit for bit (see ``streams.batch``).
    """
    batches = [_load(source, span, sample) for sample in samples]
    return Batch(*(np.stack(column) for column in zip(*batches, strict=True)))


def _load(source: Source, span: RolloutSpan, sample: Sample) -> Batch:
    """Read one sample; each array without its batch axis."""
    step = source.open().step
    window = sample.window
    history = span.history_times(step, sample.init)
    leads = span.lead_times(step, sample.init)
    target, valid = source.filled_target(window, np.concatenate([history, leads]))
    return Batch(
        target=target,
        valid=valid,
        forcings=source.forcings(window, span.forcing_times(step, sample.init), sample.init),
        statics=source.statics(window),
        domain=source.domain(window),
    )


class _ReaderPool:
    """Readers of this process by what they were opened from, the last few of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[object, BatchReader] = {}

    def open(self, key: object, make: Callable[[], BatchReader]) -> BatchReader:
        """Return the reader of ``key``, and forget those that were opened long ago."""
        with self._lock:
            if key not in self._open:
                self._open[key] = make()
                for old in list(self._open)[:-_OPEN]:
                    del self._open[old]
            return self._open[key]


_READERS = _ReaderPool()
