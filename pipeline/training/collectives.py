"""Ranks: the processes that train one network together, each on a share of every batch.

A step is that of one process: counts of valid pixels, statistics of batches and gradients are
added up over the ranks before anything is divided, clipped or learned.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
import torch.distributed as group
from torch import Tensor, nn

if TYPE_CHECKING:
    from lightning.fabric import Fabric

Value = TypeVar("Value")

_LOST_RANK_TEXTS = (
    "gloo",
    "NCCL",
    "closed by peer",
    "reset by peer",
    "Broken pipe",
    "TCPStore",
)


class Collectives:
    """What the ranks do together; one alone does nothing of it.

    All ranks have to call the same methods in the same order.

    Args:
        fabric: knows which rank this is.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.rank, self.n = fabric.global_rank, fabric.world_size
        self._device = fabric.device

    @property
    def is_first(self) -> bool:
        """Tell whether this rank writes what all of them found."""
        return self.rank == 0

    def all_reduce(self, values: Tensor) -> Tensor:
        """Add up over the ranks, in place and without a gradient."""
        if self.n > 1:
            group.all_reduce(values)
        return values

    def all_reduce_numbers(self, *numbers: float) -> list[float]:
        """Add up plain numbers over the ranks."""
        if self.n == 1:
            return list(numbers)
        sums: list[float] = self.all_reduce(self._here(numbers)).tolist()
        return sums

    def any(self, *asked: bool) -> list[bool]:
        """Tell what at least one rank wants."""
        return [n > 0 for n in self.all_reduce_numbers(*map(float, asked))]

    def all_reduce_gradients(self, network: nn.Module) -> None:
        """Add up gradients; losses are divided by counts of all ranks, so nothing is left."""
        if self.n == 1:
            return
        weights = [weight for weight in network.parameters() if weight.requires_grad]
        for weight in weights:
            if weight.grad is None:  # on all ranks or on this one alone: it adds nothing
                weight.grad = torch.zeros_like(weight)
        found = [weight.grad for weight in weights if weight.grad is not None]
        flat = self.all_reduce(torch.cat([gradient.flatten() for gradient in found]))
        sizes = [gradient.numel() for gradient in found]
        for gradient, part in zip(found, torch.split(flat, sizes), strict=True):
            gradient.copy_(part.view_as(gradient))

    def all_gather(self, value: Value) -> list[Value]:
        """List the values of all ranks."""
        if self.n == 1:
            return [value]
        values: list[Any] = [None] * self.n
        group.all_gather_object(values, value)
        return values

    def broadcast(self, give: Callable[[], Value]) -> Value:
        """Let rank 0 alone do something, and give all ranks what it got."""
        if self.n == 1:
            return give()
        values: list[Any] = [give() if self.is_first else None]
        group.broadcast_object_list(values, src=0)
        found: Value = values[0]
        return found

    def check_weights_equal(self, network: nn.Module, when: str) -> None:
        """Make sure that all ranks hold the same weights, to the bit.

        Raises:
            RuntimeError: they do not.
        """
        sums = self.all_gather(_checksum(network))
        others = [rank for rank, found in enumerate(sums) if found != sums[0]]
        if others:
            raise RuntimeError(
                f"ranks {others} hold other weights than rank 0 {when}, so they no longer "
                "train one network; run the same command: it goes on from the state of the "
                "epoch before. If it happens again, a device computes wrongly"
            )

    def _here(self, numbers: tuple[float, ...]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.float64, device=self._device)


def seed_rank(seed: int, rank: int) -> None:
    """Let this rank draw other random numbers than the ones before it."""
    if rank:
        state = np.random.SeedSequence([seed, rank]).generate_state(2, np.uint32)
        torch.manual_seed(int(state[0]) << 32 | int(state[1]))


@contextmanager
def process_group_teardown() -> Iterator[None]:
    """Leave the group behind the body; when one leaves early, the others hear of it.

    Raises:
        ConnectionError: another rank was lost.
    """
    try:
        yield
        if group.is_initialized():
            group.barrier()  # rank 0 keeps the meeting place: it may not leave first
    except RuntimeError as error:
        if any(sign in str(error) for sign in _LOST_RANK_TEXTS):
            raise ConnectionError(
                f"this rank lost the others, so it stops ({str(error).splitlines()[0]})"
            ) from error
        raise
    finally:
        if group.is_initialized():
            group.destroy_process_group()


def _checksum(network: nn.Module) -> int:
    found = 0
    for value in network.state_dict().values():
        found = zlib.crc32(value.detach().cpu().contiguous().numpy().tobytes(), found)
    return found
