"""Networks that carry their memory: every frame is read once, and blocks go on from blocks."""

from unittest.mock import Mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.models import ConvLSTM
from pipeline.models.roll import RolloutInputs, TeacherForcing, rollout, rollout_stateful
from tests.networks import Built, later, make_convlstm, make_inputs

SHAPE = (11, 13)


def random_network(memory: str, **sizes: object) -> ConvLSTM:
    given = {"history": 3, "layers": 2, "memory": memory} | sizes
    network = Built(make_convlstm, given).network()
    assert isinstance(network, ConvLSTM)
    return network


def test_one_lead_is_the_same_with_either_memory() -> None:
    carried, window = random_network("carried"), random_network("window")
    inputs = make_inputs(carried.reading, SHAPE, leads=2, batch=2)
    first, other = (rollout(network, inputs, leads=1) for network in (carried, window))
    torch.testing.assert_close(first, other, rtol=0, atol=0)
    second, other = (rollout(network, inputs, leads=2) for network in (carried, window))
    assert (second - other).abs().max() > 1e-3


@given(
    history=st.integers(1, 4),
    layers=st.integers(1, 3),
    quantiles=st.sampled_from([(), (0.1, 0.5, 0.9), (0.5, 0.8)]),
    blocks=st.lists(st.integers(1, 4), min_size=2, max_size=4),
    seed=st.integers(0, 99),
)
@settings(max_examples=25)
def test_blocks_that_go_on_from_a_memory_equal_one_rollout(
    blocks: list[int], seed: int, **sizes: object
) -> None:
    network = random_network("carried", **sizes)
    inputs = make_inputs(network.reading, SHAPE, leads=sum(blocks), batch=2, seed=seed)
    with torch.inference_mode():
        whole = rollout(network, inputs, leads=sum(blocks))
        frames, memory = rollout_stateful(network, inputs, leads=blocks[0], memory=None)
        for leads in blocks[1:]:
            after = later(inputs, frames, network.reading)
            more, memory = rollout_stateful(network, after, leads=leads, memory=memory)
            frames = torch.cat([frames, more], dim=-3)
    assert whole.std() > 1e-3
    torch.testing.assert_close(frames, whole, rtol=0, atol=1e-12)


def test_a_memory_that_read_no_frame_goes_on_like_none() -> None:
    network = random_network("carried", history=1)
    inputs = make_inputs(network.reading, SHAPE, leads=3)
    blank = torch.zeros(1, network.memory_channels, *SHAPE, dtype=torch.float64)
    going_on = rollout(network, inputs, leads=3, memory=blank)
    torch.testing.assert_close(going_on, rollout(network, inputs, leads=3), rtol=0, atol=1e-12)


def test_frames_before_the_last_one_are_not_read_with_a_memory() -> None:
    network = random_network("carried")
    inputs = make_inputs(network.reading, SHAPE, leads=3)
    memory = torch.randn(1, network.memory_channels, *SHAPE, dtype=torch.float64)
    short = rollout(network, inputs.last_frame(), leads=3, memory=memory)
    long = rollout(network, inputs, leads=3, memory=memory)
    torch.testing.assert_close(short, long, rtol=0, atol=0)


@pytest.mark.parametrize(("memory", "n_steps"), [("window", 5 * 3), ("carried", 3 + 5 - 1)])
def test_a_carried_memory_reads_every_frame_once(
    memory: str, n_steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = random_network(memory)
    cell = network._cell(0)
    with monkeypatch.context() as patched:
        step = Mock(wraps=cell.step)
        patched.setattr(cell, "step", step)
        rollout(network, make_inputs(network.reading, SHAPE, leads=5), leads=5)
    assert step.call_count == n_steps


def all_taught(inputs: RolloutInputs, leads: int) -> TeacherForcing:
    """Teach every frame, as scheduled sampling does when training begins."""
    shape = (len(inputs.target), leads, *inputs.domain.shape[1:])
    truth = torch.randn(shape, dtype=torch.float64)
    every = torch.ones(shape, dtype=torch.bool)
    return TeacherForcing(truth, every, every[..., 0, 0])


@pytest.mark.parametrize("taught", [False, True])
def test_a_carried_network_learns_through_its_memory(taught: bool) -> None:
    network = random_network("carried")
    inputs = make_inputs(network.reading, SHAPE, leads=4, batch=2, gaps=0.0)
    observed = inputs.target.clone().requires_grad_(True)
    teacher = all_taught(inputs, 4) if taught else None
    forecast = rollout(network, inputs._replace(target=observed), leads=4, truth=teacher)
    learned = [*network.parameters(), observed]
    gradients = torch.autograd.grad(forecast[:, -1].square().mean(), learned)
    assert all(float(gradient.abs().max()) > 0 for gradient in gradients)
    # Where the truth is fed back, only the memory leads from the last lead to the first frame.
    assert (gradients[-1].abs().amax(dim=(0, 2, 3)) > 0).all()


def test_a_window_forgets_what_a_memory_keeps() -> None:
    inputs = make_inputs(random_network("window").reading, SHAPE, leads=4, gaps=0.0)
    reached = []
    for memory in ("window", "carried"):
        observed = inputs.target.clone().requires_grad_(True)
        given = inputs._replace(target=observed)
        forecast = rollout(random_network(memory), given, leads=4, truth=all_taught(inputs, 4))
        (gradient,) = torch.autograd.grad(
            forecast[:, -1].sum(), observed, allow_unused=True, materialize_grads=True
        )
        reached.append(bool(gradient.abs().max() > 0))
    assert reached == [False, True]


def test_a_memory_is_kept_in_float32_when_convolutions_are_in_half_precision() -> None:
    network = random_network("carried").float()
    inputs = make_inputs(network.reading, SHAPE, leads=2)
    single = RolloutInputs(
        *(part if part.dtype == torch.bool else part.float() for part in inputs)
    )
    with torch.inference_mode():
        exact, memory = rollout_stateful(network, single, leads=2, memory=None)
        with torch.autocast("cpu", torch.bfloat16):
            frames, kept = rollout_stateful(network, single, leads=2, memory=None)
    assert memory.dtype == kept.dtype == torch.float32
    assert 0 < (frames - exact).abs().max() < 2**-7 * exact.abs().max()


def test_a_network_without_a_memory_cannot_go_on_from_one() -> None:
    network = random_network("window")
    inputs = make_inputs(network.reading, SHAPE, leads=1)
    for ask in (
        lambda: rollout_stateful(network, inputs, leads=1, memory=None),
        lambda: rollout(network, inputs, leads=1, memory=torch.zeros(1, 12, *SHAPE)),
    ):
        with pytest.raises(ValueError, match="ConvLSTM keeps no memory between calls, so"):
            ask()


def test_a_memory_of_another_network_is_refused() -> None:
    network = random_network("carried")
    inputs = make_inputs(network.reading, SHAPE, leads=1)
    with pytest.raises(ValueError, match="7 maps but this network keeps 12, so"):
        rollout(network, inputs, leads=1, memory=torch.zeros(1, 7, *SHAPE))
