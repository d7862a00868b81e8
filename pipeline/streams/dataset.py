"""Batches that workers read ahead while the network learns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from pipeline.spread import Spread
from pipeline.streams.samples import Batch, Sample


class StreamedBatches(IterableDataset[list[Tensor]]):
    """Stream batches through a bounded, ordered window of workers.

    Which samples stand in which batch is a pure function of (samples, seed, epoch), and batches
    arrive in that order, so training does not depend on the number of workers.

    Args:
        load: reads the arrays of some samples; picklable.
        samples: all samples of the part.
        batch: samples per batch.
        spread: where batches are read.
        seed: seed of the shuffle; None keeps the order of ``samples``.
        per_epoch: samples drawn per epoch; all by default.
    """

    def __init__(
        self,
        load: Callable[[Sequence[Sample]], Batch],
        samples: Sequence[Sample],
        *,
        batch: int,
        spread: Spread,
        seed: int | None = None,
        per_epoch: int | None = None,
    ) -> None:
        self._load = load
        self._samples = list(samples)
        self._batch = batch
        self._spread = spread
        self._seed = seed
        self._n_samples = min(per_epoch or len(samples), len(samples))
        self.epoch = 0
        self.first_batch = 0
        """Batches of this epoch that were learned from before; resumed training skips them."""

    def __len__(self) -> int:
        return -(-self._n_samples // self._batch)

    def plan(self) -> list[list[Sample]]:
        """List the batches of this epoch."""
        order = np.arange(len(self._samples))
        if self._seed is not None:
            order = np.random.default_rng([self._seed, self.epoch]).permutation(order)
        chosen = [self._samples[index] for index in order[: self._n_samples]]
        return [chosen[i : i + self._batch] for i in range(0, len(chosen), self._batch)]

    def __iter__(self) -> Iterator[list[Tensor]]:
        for batch in self._spread.ordered(self._load, self.plan()[self.first_batch :]):
            yield [torch.from_numpy(np.ascontiguousarray(array)) for array in Batch(*batch)]
