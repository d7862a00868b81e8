"""Memory of a training: of the workers that read patches, and of the trainer."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.executors import available_bytes
from pipeline.memory import WORKER_BASE_BYTES, MemoryPlan, WorkerPool, rss_bytes
from pipeline.models import ConvLSTMSpec, build_meta_network, count_parameters
from pipeline.streams.fields import field_blocks
from pipeline.streams.fit import FRAMES_AT_ONCE
from pipeline.streams.loader import READ_BYTES, SLAB_CACHE_BYTES
from pipeline.streams.statistics import count_seasons
from pipeline.training.spec import TrainingSpec

_FLOAT_BYTES = 4
_PIXEL_BYTES = 5  # a decoded pixel is float32 and whether it is valid
_BATCH_COPIES = 3  # of samples on their way: cut, sent, joined
_FIT_COPIES = 4  # of frames that are fitted: read, transformed, and two of a sum
_SAVED_MAPS = 7  # float32 maps of a hidden channel that a step keeps for its gradient
_GATES = 4
_BACKWARD_FACTOR = 2.0
"""Gradients, workspaces and gaps beside saved maps: what is freed stays with the process.

Measured after five epochs of the sample: 2.06; see docs/memory.md.
"""
_WEIGHTS = 9  # themselves, gradients, two moments, average, the best epoch's, three of a save
_LIBRARY_BYTES = 160 << 20
"""Memory of Lightning and its loggers once they are imported; measured: 147 MiB."""


@dataclass(frozen=True, slots=True)
class TrainingMemory:
    """Memory that the processes of a training need."""

    reader: MemoryPlan
    trainer: MemoryPlan
    """Of this process, or of each rank."""
    on_workers: bool
    """Whether workers train, as ranks."""

    def check(self, workers: WorkerPool) -> None:
        """Refuse a training that no worker has the memory for.

        Raises:
            ValueError: names the smallest change that would do.
        """
        self.reader.check(workers)
        if self.on_workers:
            self.trainer.check(workers)


def plan_memory(
    spec: TrainingSpec, shape: tuple[int, int], workers: WorkerPool
) -> TrainingMemory:
    """Plan the memory of a training on a grid of ``shape`` (y, x); no cube is needed."""
    reading = max(_fit_bytes(spec, shape), _BATCH_COPIES * READ_BYTES)
    decoded = _decoded_bytes(spec, shape)
    # Slabs are kept in half of what a worker has left, see ``streams/loader.py``.
    slabs = min(
        SLAB_CACHE_BYTES, decoded, max(0, (workers.task_bytes_available - reading) // 2)
    )
    reader = MemoryPlan("reading patches", reading + slabs, workers.base_bytes)
    learning = training_step_bytes(
        spec.network,
        n_px=spec.patches.side_px**2 * -(-spec.batch // spec.ranks),
        leads=spec.span.leads,
        members=spec.n_members,
    )
    if spec.ranks > 1:
        samples = _resident_bytes(decoded, workers.n_bytes - workers.base_bytes)
        # Libraries count as its task: no other work of a worker imports them.
        rank = max(reading, learning + samples) + _LIBRARY_BYTES
        trainer = MemoryPlan("learning", rank, workers.base_bytes, "a rank")
        return TrainingMemory(reader, trainer, on_workers=True)
    itself = max(WORKER_BASE_BYTES, rss_bytes()) + _LIBRARY_BYTES
    samples = _resident_bytes(decoded, available_bytes())
    task = max(reading, learning + samples)
    trainer = MemoryPlan("learning", task, itself, "the trainer")
    return TrainingMemory(reader, trainer, on_workers=False)


def _resident_bytes(decoded: int, free: int) -> int:
    """Bound the samples kept in memory: each part may take a quarter of what is free [B].

    See ``streams/dataset.py``.
    """
    return 2 * min(decoded, free // 4)


def training_step_bytes(network: ConvLSTMSpec, *, n_px: int, leads: int, members: int) -> int:
    """Bound the memory of a training step on a batch of ``n_px`` pixels [B].

    Counted are float32 values per pixel: the inputs, their projection in the first layer, and
    the maps of every step and layer saved for the gradient; and copies of the weights.
    """
    is_stateful = network.memory == "carried"
    n_steps = network.history + leads - 1 if is_stateful else network.history * leads
    steps = n_steps * _SAVED_MAPS * sum(network.hidden)
    projected = (network.history + leads) * _GATES * network.hidden[0]
    heads = leads * (network.hidden[-1] + 2 * sum(network.head) + network.n_outputs)
    inputs = _BATCH_COPIES * (network.history + leads) * network.channels
    saved = _BACKWARD_FACTOR * (steps + projected + heads)
    weights = _WEIGHTS * count_parameters(build_meta_network(network))
    return int(_FLOAT_BYTES * (n_px * (members * saved + inputs) + weights))


def _fit_bytes(spec: TrainingSpec, shape: tuple[int, int]) -> int:
    """Bound the memory of fitting one block: frames, and sums of all seasons [B]."""
    n_seasons = count_seasons(spec.fit.split, spec.step)
    n_px = field_blocks(shape, n_seasons)[0].size
    sums = 4 * n_seasons * 8  # total and count, and two of their means
    return n_px * (_FIT_COPIES * FRAMES_AT_ONCE * _FLOAT_BYTES + sums)


def _decoded_bytes(spec: TrainingSpec, shape: tuple[int, int]) -> int:
    """Bound the size of all decoded frames that patches are read from [B]."""
    n_frames = len(spec.fit.split.frames("train", spec.step))
    return n_frames * shape[0] * shape[1] * spec.network.channels * _PIXEL_BYTES
