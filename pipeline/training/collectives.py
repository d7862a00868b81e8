"""Ranks: the processes that train one network together, each on a part of every batch.

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
import torch.distributed as dist
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
    """Collective operations of the ranks; for one rank alone they are no-ops.

    All ranks have to call the same methods in the same order.

    Args:
        fabric: knows which rank this is.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.rank = fabric.global_rank
        self.world_size = fabric.world_size
        self._device = fabric.device

    @property
    def is_first(self) -> bool:
        """Whether this rank writes for all of them."""
        return self.rank == 0

    def all_reduce(self, values: Tensor) -> Tensor:
        """Add up a tensor (...) over the ranks, in place and without a gradient."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def all_reduce_numbers(self, *numbers: float) -> list[float]:
        """Add up plain numbers over the ranks."""
        if self.world_size == 1:
            return list(numbers)
        sums: list[float] = self.all_reduce(self._to_device(numbers)).tolist()
        return sums

    def any(self, *flags: bool) -> list[bool]:
        """Return for each flag whether it is set on at least one rank."""
        return [n > 0 for n in self.all_reduce_numbers(*map(float, flags))]

    def all_reduce_gradients(self, network: nn.Module) -> None:
        """Add up gradients; losses are divided by counts of all ranks, so nothing is left."""
        if self.world_size == 1:
            return
        weights = [weight for weight in network.parameters() if weight.requires_grad]
        for weight in weights:
            if weight.grad is None:  # on all ranks or on this one alone: it adds nothing
                weight.grad = torch.zeros_like(weight)
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        flat = self.all_reduce(torch.cat([gradient.flatten() for gradient in gradients]))
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, total in zip(gradients, torch.split(flat, sizes), strict=True):
            gradient.copy_(total.view_as(gradient))

    def all_gather(self, value: Value) -> list[Value]:
        """List the values of all ranks."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def broadcast(self, compute: Callable[[], Value]) -> Value:
        """Compute on rank 0 alone, and return its result on all ranks."""
        if self.world_size == 1:
            return compute()
        values: list[Any] = [compute() if self.is_first else None]
        dist.broadcast_object_list(values, src=0)
        value: Value = values[0]
        return value

    def check_weights_equal(self, network: nn.Module, when: str) -> None:
        """Check that all ranks hold the same weights, to the bit.

        Raises:
            RuntimeError: they do not.
        """
        checksums = self.all_gather(_checksum(network))
        others = [rank for rank, value in enumerate(checksums) if value != checksums[0]]
        if others:
            raise RuntimeError(
                f"ranks {others} hold other weights than rank 0 {when}, so they no longer "
                "train one network; run the same command: it goes on from the state of the "
                "epoch before. If it happens again, a device computes wrongly"
            )

    def _to_device(self, numbers: tuple[float, ...]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.float64, device=self._device)


def seed_rank(seed: int, rank: int) -> None:
    """Seed the ranks after the first, so that each draws random numbers of its own."""
    if rank:
        state = np.random.SeedSequence([seed, rank]).generate_state(2, np.uint32)
        torch.manual_seed(int(state[0]) << 32 | int(state[1]))


@contextmanager
def process_group_teardown() -> Iterator[None]:
    """Leave the process group after the body; when one leaves early, the others fail too.

    Raises:
        ConnectionError: another rank was lost.
    """
    try:
        yield
        if dist.is_initialized():
            dist.barrier()  # rank 0 keeps the store: it may not leave first
    except RuntimeError as error:
        if any(sign in str(error) for sign in _LOST_RANK_TEXTS):
            raise ConnectionError(
                f"this rank lost the others, so it stops ({str(error).splitlines()[0]})"
            ) from error
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _checksum(network: nn.Module) -> int:
    checksum = 0
    for value in network.state_dict().values():
        content = value.detach().cpu().contiguous().numpy().tobytes()
        checksum = zlib.crc32(content, checksum)
    return checksum
