"""What a training holds in memory: who reads patches, and who learns from them."""

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

_FLOAT, _PIXEL_BYTES = 4, 5  # a decoded pixel is float32 and whether it is valid
_BATCH_COPIES = 3  # of samples on their way: cut, sent, joined
_FIT_COPIES = 4  # of frames that are fitted: read, transformed, and two of a sum
_SAVED_MAPS = 7  # float32 maps of a hidden channel that a step keeps for its gradient
_GATES = 4
_BACKWARD_FACTOR = 2.0
"""Gradients and workspaces beside what is kept, and gaps: what is freed stays with the process.

Measured after five epochs of the sample: 2.06; see docs/memory.md.
"""
_WEIGHTS = 9  # themselves, gradients, two moments, average, the best epoch's, three of a save
_LIBRARIES = 160 << 20
"""What Lightning and its loggers take once they are imported; measured: 147 MiB."""


@dataclass(frozen=True, slots=True)
class TrainingMemory:
    """What the processes of a training need."""

    reader: MemoryPlan
    trainer: MemoryPlan
    """Of this process, or of each rank."""
    on_workers: bool
    """Whether ranks learn, which are workers."""

    def check(self, workers: WorkerPool) -> None:
        """Refuse a training that no worker has the memory for.

        Raises:
            ValueError: says the smallest change that would do.
        """
        self.reader.check(workers)
        if self.on_workers:
            self.trainer.check(workers)


def plan_memory(
    spec: TrainingSpec, shape: tuple[int, int], workers: WorkerPool
) -> TrainingMemory:
    """Plan the memory of a training on a grid of ``shape`` (y, x); no cube is needed."""
    task = max(_fit_bytes(spec, shape), _BATCH_COPIES * READ_BYTES)
    decoded = _decoded_bytes(spec, shape)
    # Slabs are kept in half of what a worker has left, see ``streams/loader.py``.
    slabs = min(SLAB_CACHE_BYTES, decoded, max(0, (workers.task_bytes_available - task) // 2))
    reader = MemoryPlan("reading patches", task + slabs, workers.base_bytes)
    ranks = spec.ranks
    learning = training_step_bytes(
        spec.network,
        n_px=spec.patches.side_px**2 * -(-spec.batch // ranks),
        leads=spec.span.leads,
        members=spec.n_members,
    )
    if ranks > 1:
        samples = _kept_bytes(decoded, workers.n_bytes - workers.base_bytes)
        # Libraries count as its task: no other work of a worker imports them.
        rank = max(task, learning + samples) + _LIBRARIES
        trainer = MemoryPlan("learning", rank, workers.base_bytes, "a rank")
        return TrainingMemory(reader, trainer, on_workers=True)
    itself = max(WORKER_BASE_BYTES, rss_bytes()) + _LIBRARIES
    task = max(task, learning + _kept_bytes(decoded, available_bytes()))
    trainer = MemoryPlan("learning", task, itself, "the trainer")
    return TrainingMemory(reader, trainer, on_workers=False)


def _kept_bytes(decoded: int, free: int) -> int:
    """Bound the samples that are kept: each part may take a quarter of what is free [B].

    See ``streams/dataset.py``.
    """
    return 2 * min(decoded, free // 4)


def training_step_bytes(network: ConvLSTMSpec, *, n_px: int, leads: int, members: int) -> int:
    """Bound the memory of one batch of ``n_px`` pixels that is learned from [B].

    Counted are float32 values per pixel: the inputs, what the first layer is driven by, and
    what every step of every layer keeps for its gradient; and copies of the weights.
    """
    carried = network.memory == "carried"
    n_steps = network.history + leads - 1 if carried else network.history * leads
    steps = n_steps * _SAVED_MAPS * sum(network.hidden)
    driven = (network.history + leads) * _GATES * network.hidden[0]
    heads = leads * (network.hidden[-1] + 2 * sum(network.head) + network.n_outputs)
    inputs = _BATCH_COPIES * (network.history + leads) * network.channels
    kept = _BACKWARD_FACTOR * (steps + driven + heads)
    weights = _WEIGHTS * count_parameters(build_meta_network(network))
    return int(_FLOAT * (n_px * (members * kept + inputs) + weights))


def _fit_bytes(spec: TrainingSpec, shape: tuple[int, int]) -> int:
    """Bound what fitting one block of a variable takes: frames, and sums of all seasons [B]."""
    n_seasons = count_seasons(spec.fit.split, spec.step)
    n_px = field_blocks(shape, n_seasons)[0].size
    sums = 4 * n_seasons * 8  # total and count, and two of their means
    return n_px * (_FIT_COPIES * FRAMES_AT_ONCE * _FLOAT + sums)


def _decoded_bytes(spec: TrainingSpec, shape: tuple[int, int]) -> int:
    """Bound the size of all that patches are cut from [B]."""
    n_frames = len(spec.fit.split.frames("train", spec.step))
    return n_frames * shape[0] * shape[1] * spec.network.channels * _PIXEL_BYTES
