"""Over how many values a loss is averaged: those of this process, or of all ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

_total: ContextVar[Callable[[Tensor], Tensor] | None] = ContextVar("total", default=None)


@contextmanager
def global_denominator(total: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Divide by the counts of all processes inside the body.

    Losses of the processes then add up to the loss of one that had all their samples, whatever
    is valid in each.

    Args:
        total: adds up the counts () of all processes.
    """
    before = _total.set(total)
    try:
        yield
    finally:
        _total.reset(before)


def denominator(valid: Tensor) -> Tensor:
    """Count the valid values (b, l, y, x), at least 1: without one a loss is 0."""
    n = valid.sum()
    total = _total.get()
    return (n if total is None else total(n)).clamp(min=1)
