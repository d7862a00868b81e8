"""The point-wise part of a ConvLSTM cell: as written to train, in few passes to forecast."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

log = logging.getLogger(__name__)


class State(NamedTuple):
    """Memory of a ConvLSTM: hidden and cell maps, each (b, h, y, x)."""

    hidden: Tensor
    cell: Tensor


Gates = Callable[[Tensor, Tensor | None], State]


def open_gates(gates: Tensor, cell: Tensor | None) -> State:
    """Let gates (b, 4h, y, x) work on the cell maps (b, h, y, x); None is a zero state.

    The order of the gates is keep, write, show, candidate. Changes nothing, so gradients flow.
    """
    opened, candidate = gates.tensor_split([3 * gates.shape[1] // 4], dim=1)
    keep, write, show = opened.sigmoid().chunk(3, dim=1)  # each (b, h, y, x)
    written = write * candidate.tanh()
    if cell is not None:
        written = torch.addcmul(written, keep, cell)
    return State(show * written.tanh(), written)


def open_wide(gates: Tensor, cell: Tensor | None) -> State:
    """Do the same in float32 at least; hidden maps come back as the gates came."""
    hidden, written = open_gates(_widen(gates), cell)
    return State(hidden.to(gates.dtype), written)


def open_in_place(gates: Tensor, cell: Tensor | None) -> State:
    """Do what ``open_wide`` does in few passes over memory; overwrites the gates.

    tanh(x) is 2 sigmoid(2x) - 1: on CPUs torch's tanh takes nine times as long as its sigmoid,
    and all four gates become one pass. Rounding differs by 1e-7 of the range of a gate.
    """
    opened = _widen(gates)
    candidate = opened[:, 3 * gates.shape[1] // 4 :]
    candidate.mul_(2)
    keep, write, show, _ = opened.sigmoid_().chunk(4, dim=1)  # each (b, h, y, x)
    kept = write.neg() if cell is None else (keep * cell).sub_(write)
    written = kept.addcmul_(write, candidate, value=2)
    squashed = torch.mul(written, 2).sigmoid_()
    shown = show.neg().addcmul_(show, squashed, value=2)
    return State(shown.to(gates.dtype), written)


def _widen(gates: Tensor) -> Tensor:
    # Half precision is left to the convolutions: a cell sums over all frames.
    return gates.to(torch.promote_types(gates.dtype, torch.float32))


class Fused:
    """Gates as one kernel where this machine can compile it, else operation by operation."""

    def __init__(self, compiled: Callable[[Gates], Gates] | None = None) -> None:
        self._compiled = compiled or _compile
        self._run: Gates | None = None

    def __call__(self, gates: Tensor, cell: Tensor | None) -> State:
        """Do what ``open_wide`` does; may overwrite the gates."""
        try:
            self._run = self._run or self._compiled(open_wide)
            return self._run(gates, cell)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = str(error).strip().partition("\n")[0]
            log.warning("the gates are not compiled here, so networks run slower: %s", reason)
            self._run = open_in_place
            return open_in_place(gates, cell)


def _compile(gates: Gates) -> Gates:
    # Tiles of a plan have one shape, but the last batch of a task may be smaller.
    return torch.compile(gates, dynamic=True)


_FUSED = Fused()


def forecast_gates(gates: Tensor, cell: Tensor | None) -> State:
    """Open gates that nobody needs afterwards, without gradients."""
    return _FUSED(gates, cell) if gates.is_cuda else open_in_place(gates, cell)
