"""The share of one rank in the batches of all of them."""

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
    """Choose what streams to a rank: all batches, its share of each, or some of them whole."""
    if rank_context is None:
        return BatchDataset
    return partial(
        SplitBatches if split_batches else RoundRobinBatches, rank_context=rank_context
    )


class SplitBatches(BatchDataset):
    """Batches of which this rank takes its share: together, the ranks take each once.

    A batch may hold fewer samples than there are ranks. Who has none then reads one for its
    shape and gives tensors without a sample: every rank takes part in every batch.
    """

    def __init__(self, *given: Any, rank_context: RankContext, **named: Any) -> None:
        super().__init__(*given, **named)
        self._rank, self._n = rank_context.rank, rank_context.world_size

    def plan_batches(self) -> list[list[Sample]]:
        """List what this rank reads for each batch."""
        return [self._own(batch) or batch[:1] for batch in super().plan_batches()]

    def __iter__(self) -> Iterator[list[Tensor]]:
        sizes = [len(self._own(batch)) for batch in super().plan_batches()[self.first_batch :]]
        for tensors, size in zip(super().__iter__(), sizes, strict=True):
            yield [tensor[:size] for tensor in tensors]

    def _own(self, batch: Sequence[Sample]) -> list[Sample]:
        start, stop = (len(batch) * rank // self._n for rank in (self._rank, self._rank + 1))
        return list(batch[start:stop])


class RoundRobinBatches(BatchDataset):
    """Whole batches dealt to the ranks in turn: they need not meet to judge."""

    def __init__(self, *given: Any, rank_context: RankContext, **named: Any) -> None:
        super().__init__(*given, **named)
        self._rank, self._n = rank_context.rank, rank_context.world_size

    def plan_batches(self) -> list[list[Sample]]:
        """List the batches of this rank."""
        return super().plan_batches()[self._rank :: self._n]
