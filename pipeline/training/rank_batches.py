"""The part of one rank in the batches of all ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from pipeline.rank_group import RankContext
from pipeline.streams.dataset import BatchDataset
from pipeline.streams.samples import Sample


def dataset_for(
    rank_context: RankContext | None, *, split_batches: bool
) -> Callable[..., BatchDataset]:
    """Choose the batches of a rank: all of them, its part of each, or some of them whole."""
    if rank_context is None:
        return BatchDataset
    return partial(
        SplitBatches if split_batches else RoundRobinBatches, rank_context=rank_context
    )


class SplitBatches(BatchDataset):
    """Batches of which this rank takes a part: together, the ranks take each sample once.

    A batch may hold fewer samples than there are ranks. A rank that has none then reads one
    for its shape and yields tensors without a sample: every rank takes part in every batch.
    """

    def __init__(self, *args: Any, rank_context: RankContext, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rank = rank_context.rank
        self._world_size = rank_context.world_size

    def plan_batches(self) -> list[list[Sample]]:
        """List what this rank reads for each batch."""
        return [self._part_of(batch) or batch[:1] for batch in super().plan_batches()]

    def __iter__(self) -> Iterator[list[Tensor]]:
        sizes = [
            len(self._part_of(batch)) for batch in super().plan_batches()[self.first_batch :]
        ]
        for tensors, size in zip(super().__iter__(), sizes, strict=True):
            yield [tensor[:size] for tensor in tensors]

    def _part_of(self, batch: Sequence[Sample]) -> list[Sample]:
        start, stop = (
            len(batch) * rank // self._world_size for rank in (self._rank, self._rank + 1)
        )
        return list(batch[start:stop])


class RoundRobinBatches(BatchDataset):
    """Whole batches, assigned to the ranks in turn: validation needs no communication."""

    def __init__(self, *args: Any, rank_context: RankContext, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rank = rank_context.rank
        self._world_size = rank_context.world_size

    def plan_batches(self) -> list[list[Sample]]:
        """List the batches of this rank."""
        return super().plan_batches()[self._rank :: self._world_size]
