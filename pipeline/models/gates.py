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

    The order of the gates is forget, input, output, candidate. Gates are not overwritten.
    """
    sigmoids, candidate = gates.tensor_split([3 * gates.shape[1] // 4], dim=1)
    # each (b, h, y, x)
    forget_gate, input_gate, output_gate = sigmoids.sigmoid().chunk(3, dim=1)
    next_cell = input_gate * candidate.tanh()
    if cell is not None:
        next_cell = torch.addcmul(next_cell, forget_gate, cell)
    return LSTMState(output_gate * next_cell.tanh(), next_cell)


def lstm_gates_float32(gates: Tensor, cell: Tensor | None) -> LSTMState:
    """Compute ``lstm_gates`` in float32 at least; hidden maps (b, h, y, x) keep their type."""
    hidden, next_cell = lstm_gates(_to_float32(gates), cell)
    return LSTMState(hidden.to(gates.dtype), next_cell)


def lstm_gates_inplace(gates: Tensor, cell: Tensor | None) -> LSTMState:
    """Compute what ``lstm_gates_float32`` does, each (b, h, y, x), in few passes.

    Overwrites the gates. tanh(x) is 2 sigmoid(2x) - 1: on CPUs torch's tanh takes nine times as
    long as its sigmoid. Rounding differs by 1e-7 of the range of a gate.
    """
    gates32 = _to_float32(gates)
    hidden, next_cell, _ = _update(_activate(gates32, into=gates32), cell)
    return LSTMState(hidden.to(gates.dtype), next_cell)


def lstm_gates_autograd(gates: Tensor, cell: Tensor | None) -> LSTMState:
    """Compute what ``lstm_gates_float32`` does (b, h, y, x), also gradients in few passes.

    Overwrites nothing. On a processor, forward and backward took 0.3 to 0.5 of the time of
    ``lstm_gates``.
    """
    hidden, next_cell = _LSTMGates.apply(_to_float32(gates), cell)  # type: ignore[no-untyped-call]
    return LSTMState(hidden.to(gates.dtype), next_cell)


class _LSTMGates(torch.autograd.Function):
    """Gates in few passes, and their gradients from the activations."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, cell: Tensor | None) -> tuple[Tensor, Tensor]:
        activations = _activate(gates, into=torch.empty_like(gates))
        hidden, next_cell, sigmoid_2c = _update(activations, cell)
        ctx.save_for_backward(activations, sigmoid_2c, cell)
        return hidden, next_cell

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_hidden: Tensor, grad_cell: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Compute gradients of gates (b, 4h, y, x) and cell from those of maps (b, h, y, x)."""
        activations, sigmoid_2c, cell = ctx.saved_tensors
        forget_gate, input_gate, output_gate, candidate = activations.chunk(4, dim=1)
        # A sigmoid s has the slope s (1 - s), and 2 s - 1 of a doubled argument four times it.
        slopes = torch.addcmul(activations, activations, activations, value=-1)
        grad_forget, grad_input, grad_output, grad_candidate = slopes.chunk(4, dim=1)
        slope = torch.addcmul(sigmoid_2c, sigmoid_2c, sigmoid_2c, value=-1)
        grad_next = torch.addcmul(grad_cell, slope.mul_(output_gate), grad_hidden, value=4)
        grad_output.mul_(torch.mul(sigmoid_2c, 2).sub_(1).mul_(grad_hidden))
        grad_input.mul_(torch.mul(candidate, 2).sub_(1).mul_(grad_next))
        grad_candidate.mul_(torch.mul(input_gate, grad_next).mul_(4))
        if cell is None:
            grad_forget.zero_()
            return slopes, None
        grad_forget.mul_(torch.mul(cell, grad_next))
        return slopes, grad_next.mul_(forget_gate)


def _activate(gates: Tensor, *, into: Tensor) -> Tensor:
    """Apply a sigmoid to all gates (b, 4h, y, x), the candidate's argument doubled."""
    first = 3 * gates.shape[1] // 4  # of the candidate
    torch.sigmoid(gates[:, :first], out=into[:, :first])
    torch.mul(gates[:, first:], 2, out=into[:, first:]).sigmoid_()
    return into


def _update(activations: Tensor, cell: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Compute hidden and cell maps and sigmoid(2 cell), each (b, h, y, x)."""
    # each (b, h, y, x)
    forget_gate, input_gate, output_gate, candidate = activations.chunk(4, dim=1)
    partial = input_gate.neg() if cell is None else (forget_gate * cell).sub_(input_gate)
    next_cell = partial.addcmul_(input_gate, candidate, value=2)
    sigmoid_2c = torch.mul(next_cell, 2).sigmoid_()
    return output_gate.neg().addcmul_(output_gate, sigmoid_2c, value=2), next_cell, sigmoid_2c


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
