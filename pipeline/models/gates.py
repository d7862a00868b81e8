"""The point-wise part of a ConvLSTM cell: as written, and in few passes over memory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

log = logging.getLogger(__name__)


class LSTMState(NamedTuple):
    """Memory of a ConvLSTM: hidden and cell maps, each (b, h, y, x)."""

    hidden: Tensor
    cell: Tensor


GateFunction = Callable[[Tensor, Tensor | None], LSTMState]


def lstm_gates(gates: Tensor, cell: Tensor | None) -> LSTMState:
    """Compute the next state from gates (b, 4h, y, x) and cell maps (b, h, y, x) or None (0).

    The order of the gates is keep, write, show, candidate. Changes nothing, so gradients flow.
    """
    opened, candidate = gates.tensor_split([3 * gates.shape[1] // 4], dim=1)
    keep, write, show = opened.sigmoid().chunk(3, dim=1)  # each (b, h, y, x)
    written = write * candidate.tanh()
    if cell is not None:
        written = torch.addcmul(written, keep, cell)
    return LSTMState(show * written.tanh(), written)


def lstm_gates_float32(gates: Tensor, cell: Tensor | None) -> LSTMState:
    """Compute it in float32 at least; hidden maps (b, h, y, x) come back as the gates came."""
    hidden, written = lstm_gates(_to_float32(gates), cell)
    return LSTMState(hidden.to(gates.dtype), written)


def lstm_gates_inplace(gates: Tensor, cell: Tensor | None) -> LSTMState:
    """Compute what ``lstm_gates_float32`` does, each (b, h, y, x), in few passes; overwrites the gates.

    tanh(x) is 2 sigmoid(2x) - 1: on CPUs torch's tanh takes nine times as long as its sigmoid.
    Rounding differs by 1e-7 of the range of a gate.
    """
    wide = _to_float32(gates)
    hidden, written, _ = _update(_activate(wide, into=wide), cell)
    return LSTMState(hidden.to(gates.dtype), written)


def lstm_gates_autograd(gates: Tensor, cell: Tensor | None) -> LSTMState:
    """Compute what ``lstm_gates_float32`` does (b, h, y, x), with gradients in few passes as well.

    Overwrites nothing. On a processor, forward and backward took 0.3 to 0.5 of the time of
    ``lstm_gates``.
    """
    hidden, written = _LSTMGates.apply(_to_float32(gates), cell)  # type: ignore[no-untyped-call]
    return LSTMState(hidden.to(gates.dtype), written)


class _LSTMGates(torch.autograd.Function):
    """Gates in few passes, and their gradients from what was squashed."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, cell: Tensor | None) -> tuple[Tensor, Tensor]:
        opened = _activate(gates, into=torch.empty_like(gates))
        hidden, written, squashed = _update(opened, cell)
        ctx.save_for_backward(opened, squashed, cell)
        return hidden, written

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, hidden: Tensor, written: Tensor) -> tuple[Tensor, Tensor | None]:
        """Compute gradients of gates (b, 4h, y, x) and cell from those of maps (b, h, y, x)."""
        opened, squashed, cell = ctx.saved_tensors
        keep, write, show, candidate = opened.chunk(4, dim=1)
        # A sigmoid s has the slope s (1 - s), and 2 s - 1 of a doubled argument four times it.
        slopes = torch.addcmul(opened, opened, opened, value=-1)
        to_keep, to_write, to_show, to_candidate = slopes.chunk(4, dim=1)
        slope = torch.addcmul(squashed, squashed, squashed, value=-1)
        of_cell = torch.addcmul(written, slope.mul_(show), hidden, value=4)
        to_show.mul_(torch.mul(squashed, 2).sub_(1).mul_(hidden))
        to_write.mul_(torch.mul(candidate, 2).sub_(1).mul_(of_cell))
        to_candidate.mul_(torch.mul(write, of_cell).mul_(4))
        if cell is None:
            to_keep.zero_()
            return slopes, None
        to_keep.mul_(torch.mul(cell, of_cell))
        return slopes, of_cell.mul_(keep)


def _activate(gates: Tensor, *, into: Tensor) -> Tensor:
    """Squash all gates by a sigmoid, the candidate's argument doubled."""
    candidate = 3 * gates.shape[1] // 4
    torch.sigmoid(gates[:, :candidate], out=into[:, :candidate])
    torch.mul(gates[:, candidate:], 2, out=into[:, candidate:]).sigmoid_()
    return into


def _update(opened: Tensor, cell: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Compute hidden and cell maps of squashed gates, and the sigmoid of twice the latter."""
    keep, write, show, candidate = opened.chunk(4, dim=1)  # each (b, h, y, x)
    kept = write.neg() if cell is None else (keep * cell).sub_(write)
    written = kept.addcmul_(write, candidate, value=2)
    squashed = torch.mul(written, 2).sigmoid_()
    return show.neg().addcmul_(show, squashed, value=2), written, squashed


def _to_float32(gates: Tensor) -> Tensor:
    # Half precision is left to the convolutions: a cell sums over all frames.
    return gates.to(torch.promote_types(gates.dtype, torch.float32))


class FusedGates:
    """Gates as one kernel where this machine can compile it, else operation by operation."""

    def __init__(self, compiled: Callable[[GateFunction], GateFunction] | None = None) -> None:
        self._compiled = compiled or _compile
        self._run: GateFunction | None = None

    def __call__(self, gates: Tensor, cell: Tensor | None) -> LSTMState:
        """Compute what ``lstm_gates_float32`` does; may overwrite the gates."""
        try:
            self._run = self._run or self._compiled(lstm_gates_float32)
            return self._run(gates, cell)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = str(error).strip().partition("\n")[0]
            log.warning("the gates are not compiled here, so networks run slower: %s", reason)
            self._run = lstm_gates_inplace
            return lstm_gates_inplace(gates, cell)


def _compile(gates: GateFunction) -> GateFunction:
    # Tiles of a plan have one shape, but the last batch of a task may be smaller.
    return torch.compile(gates, dynamic=True)


_FUSED = FusedGates()


def inference_gates(gates: Tensor, cell: Tensor | None) -> LSTMState:
    """Compute the next state (b, h, y, x) from gates that nobody needs afterwards."""
    return _FUSED(gates, cell) if gates.is_cuda else lstm_gates_inplace(gates, cell)


def training_gates(gates: Tensor, cell: Tensor | None) -> LSTMState:
    """Compute the next state (b, h, y, x) with gradients; on a GPU as it is written."""
    return (
        lstm_gates_float32(gates, cell) if gates.is_cuda else lstm_gates_autograd(gates, cell)
    )
