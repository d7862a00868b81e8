"""Gates in few passes are the gates of the paper."""

import logging

import pytest
import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException

from pipeline.models.cells import ConvLSTMCell
from pipeline.models.gates import (
    FusedGates,
    GateFunction,
    LSTMState,
    inference_gates,
    lstm_gates,
    lstm_gates_autograd,
    lstm_gates_inplace,
)


def draw(*, dtype: torch.dtype = torch.float64, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    """Draw gates and cell maps of five hidden channels, some of them saturated."""
    torch.manual_seed(0)
    gates, cell = torch.randn(2, 20, 7, 11).double(), torch.randn(2, 5, 7, 11).double()
    return (scale * gates).to(dtype), cell.to(dtype)


@pytest.mark.parametrize("remembers", [False, True])
@pytest.mark.parametrize("scale", [1e-3, 3.0, 300.0])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_gates_in_place_equal_the_written_ones(
    remembers: bool, scale: float, dtype: torch.dtype, bound: float
) -> None:
    gates, drawn = draw(dtype=dtype, scale=scale)
    cell = drawn if remembers else None
    written = lstm_gates(gates, cell)
    torch.testing.assert_close(
        lstm_gates_inplace(gates.clone(), cell), written, rtol=0, atol=bound
    )


@pytest.mark.parametrize("remembers", [False, True])
@pytest.mark.parametrize("scale", [1e-3, 3.0, 300.0])
def test_gradients_in_few_passes_are_those_of_the_written_gates(
    remembers: bool, scale: float
) -> None:
    gates, drawn = draw(scale=scale)
    inputs = [gates.requires_grad_(), drawn.requires_grad_()][: 1 + remembers]
    weights = torch.randn(2, *drawn.shape, dtype=torch.float64)
    found, written = (
        torch.autograd.grad(
            [opened(gates, drawn if remembers else None)[half] for half in (0, 1)],
            inputs,
            list(weights),
        )
        for opened in (lstm_gates_autograd, lstm_gates)
    )
    assert max(float(gradient.abs().max()) for gradient in written) > 0.1 * min(1, scale)
    torch.testing.assert_close(found, written, rtol=0, atol=1e-14)


def test_gates_that_learn_have_the_gradients_of_finite_differences() -> None:
    gates, cell = (part[:, :, :2, :2].clone().requires_grad_() for part in draw(scale=1))
    assert torch.autograd.gradcheck(lstm_gates_autograd, (gates, cell))
    assert torch.autograd.gradcheck(lambda gates: lstm_gates_autograd(gates, None), (gates,))


def test_gates_that_learn_overwrite_nothing_and_keep_their_cell_in_float32() -> None:
    gates, cell = draw(dtype=torch.float32)
    kept = [part.clone() for part in (gates, cell)]
    lstm_gates_autograd(gates, cell)
    torch.testing.assert_close([gates, cell], kept, rtol=0, atol=0)
    hidden, written = lstm_gates_autograd(gates.bfloat16(), cell)
    assert (hidden.dtype, written.dtype) == (torch.bfloat16, torch.float32)


def test_gates_in_place_leave_the_old_cell_as_it_was() -> None:
    gates, cell = draw()
    kept = cell.clone()
    lstm_gates_inplace(gates, cell)
    torch.testing.assert_close(cell, kept, rtol=0, atol=0)


def test_a_drive_that_several_windows_read_is_not_overwritten() -> None:
    cell = ConvLSTMCell(3, 4)
    with torch.inference_mode():
        drives = cell.project_input(torch.randn(1, 3, 3, 9, 9))
        kept = [drive.clone() for drive in drives]
        cell.run(drives)
    torch.testing.assert_close(list(drives), kept, rtol=0, atol=0)


def test_half_precision_keeps_its_cell_in_float32() -> None:
    gates, cell = draw(dtype=torch.float32)
    exact = lstm_gates(gates.bfloat16().float(), cell)
    hidden, written = inference_gates(gates.bfloat16(), cell)
    assert (hidden.dtype, written.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(written, exact.cell, rtol=0, atol=1e-6)
    torch.testing.assert_close(hidden.float(), exact.hidden, rtol=2**-8, atol=1e-6)


def test_gates_that_cannot_be_compiled_are_opened_one_by_one_and_it_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tries = 0

    def fail(gates: Tensor, cell: Tensor | None) -> LSTMState:
        nonlocal tries
        tries += 1
        raise TorchDynamoException("no compiler\nand a long story")

    fused = FusedGates(lambda gates: fail)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            gates, cell = draw()
            torch.testing.assert_close(fused(gates.clone(), cell), lstm_gates(gates, cell))
    assert tries == 1
    (message,) = caplog.messages
    assert message == "the gates are not compiled here, so networks run slower: no compiler"


def test_a_device_without_memory_is_no_reason_to_go_on_without_a_compiler() -> None:
    def fail(gates: Tensor, cell: Tensor | None) -> LSTMState:
        raise torch.OutOfMemoryError("full")

    with pytest.raises(torch.OutOfMemoryError, match="full"):
        FusedGates(lambda gates: fail)(*draw())


def test_compiled_gates_are_used_again() -> None:
    compiled = 0

    def compile_gates(gates: GateFunction) -> GateFunction:
        nonlocal compiled
        compiled += 1
        return gates

    fused = FusedGates(compile_gates)
    for _ in range(3):
        gates, cell = draw()
        torch.testing.assert_close(fused(gates, cell), lstm_gates(gates, cell), rtol=0, atol=0)
    assert compiled == 1


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own import
def test_gates_on_a_gpu_equal_the_written_ones(caplog: pytest.LogCaptureFixture) -> None:
    gates, cell = draw(dtype=torch.float32)
    with torch.inference_mode(), caplog.at_level(logging.WARNING):
        fused = inference_gates(gates.cuda(), cell.cuda())
    torch.testing.assert_close(
        LSTMState(*(half.cpu() for half in fused)), lstm_gates(gates, cell)
    )
    assert not caplog.messages
