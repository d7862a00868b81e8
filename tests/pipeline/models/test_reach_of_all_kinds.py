"""What every kind of network states is what the gradient of the real one shows."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.models.probe import probe_radius
from pipeline.models.roll import RolloutInputs, rollout, rollout_stateful
from pipeline.models.steppers import StatefulNetwork
from tests.networks import (
    N_FORCINGS,
    Built,
    DirectHead,
    PixelLSTM,
    Stated,
    UNet,
    WindowCNN,
    make_convlstm,
)

histories, leads_up_to_5 = st.integers(1, 4), st.integers(1, 5)
kernels = st.sampled_from([1, 3, 5])


def built(build: Callable[..., Stated], **sizes: object) -> Built:
    return Built(build, sizes)


KINDS = st.one_of(
    st.builds(
        built,
        st.just(make_convlstm),
        history=histories,
        layers=st.integers(1, 2),
        kernel=kernels,
        heads=st.integers(0, 2),
        memory=st.sampled_from(["window", "carried"]),
    ),
    st.builds(
        built,
        st.just(DirectHead),
        history=histories,
        emits=st.integers(1, 4),
        layers=st.integers(1, 2),
        dilation=st.integers(1, 3),
    ),
    st.builds(
        built,
        st.just(UNet),
        history=st.integers(1, 2),
        strides=st.sampled_from([(2,), (4,), (2, 2)]),
        kernel=kernels,
        pooled=st.booleans(),
    ),
    st.builds(built, st.just(PixelLSTM), history=histories, emits=st.integers(1, 4)),
    st.builds(
        built,
        st.just(WindowCNN),
        history=histories,
        kernel=kernels,
        dilation=st.integers(1, 3),
    ),
)


def rolled(network: Stated, seen: Tensor, leads: int) -> Tensor:
    """Roll out as a function of all that is read (b, n, y, x), with constant validity."""
    reading = network.reading
    sizes = [reading.history, reading.n_forcing_frames(leads) * N_FORCINGS, 1]
    target, forcings, statics = torch.split(seen, sizes, dim=1)
    inputs = RolloutInputs(
        target=target,
        valid=torch.ones(target.shape, dtype=torch.bool),
        forcings=torch.unflatten(forcings, 1, (-1, N_FORCINGS)),
        statics=statics,
        domain=torch.ones(len(seen), *seen.shape[-2:], dtype=torch.bool),
    )
    return rollout(network, inputs, leads=leads)


def opened(network: Stated) -> Stated:
    """Exchange ReLU for SiLU: weights that close a path by chance make the reach no shorter."""
    assert isinstance(network, nn.Module)
    for layer in network.modules():
        for name, child in layer.named_children():
            if isinstance(child, nn.ReLU):
                setattr(layer, name, nn.SiLU())
    return network


def probe(kind: Built, leads: int, seed: int) -> int:
    """Measure the radius on a grid that is no multiple of the stride."""
    network = opened(kind.network(seed))
    reading, reach = network.reading, network.reach
    side = 2 * (reach.radius(leads) + reach.stride) + 5
    n = reading.history + reading.n_forcing_frames(leads) * N_FORCINGS + 1
    draw = torch.Generator().manual_seed(seed)
    seen = torch.randn(2, n, side, side, generator=draw, dtype=torch.float64)
    return probe_radius(
        lambda frames: rolled(network, frames, leads), seen, stride=reach.stride
    )


@given(kind=KINDS, leads=leads_up_to_5, seed=st.integers(0, 99))
@settings(max_examples=40)
def test_the_stated_reach_is_the_reach_of_the_real_network(
    kind: Built, leads: int, seed: int
) -> None:
    assert probe(kind, leads, seed) == kind.network().reach.radius(leads)


@pytest.mark.parametrize(("strides", "pooled"), [((2,), False), ((4,), True), ((2, 2), False)])
@pytest.mark.parametrize("leads", [1, 3])
def test_a_strided_network_looks_as_far_as_its_worst_phase(
    strides: tuple[int, ...], pooled: bool, leads: int
) -> None:
    kind = built(UNet, history=1, strides=strides, pooled=pooled)
    reach = kind.network().reach
    assert reach.stride > 1
    assert reach.radius(1) > 2
    assert probe(kind, leads, seed=1) == reach.radius(leads)


def test_without_feedback_the_reach_does_not_grow_with_the_leads() -> None:
    cnn = WindowCNN(history=3, kernel=5, dilation=2).reach
    assert cnn.radius(1) == cnn.radius(12) == 5
    assert PixelLSTM(history=3, emits=2).reach.radius(12) == 0


def probe_later(kind: Built, leads: int) -> int:
    """Measure how far leads look that go on from a memory, at it and at the last frame."""
    network = opened(kind.network())
    assert isinstance(network, StatefulNetwork)
    n_memory, side = network.memory_channels, 2 * network.reach.radius(leads) + 5
    sizes = [n_memory, 1, leads * N_FORCINGS, 1]
    torch.manual_seed(0)
    seen = torch.randn(2, sum(sizes), side, side, dtype=torch.float64)
    usable = torch.ones(2, 1, side, side, dtype=torch.bool)

    def go_on(seen: Tensor) -> Tensor:
        memory, target, forcings, statics = torch.split(seen, sizes, dim=1)
        dated = torch.unflatten(forcings, 1, (-1, N_FORCINGS))
        inputs = RolloutInputs(target, usable, dated, statics, usable[:, 0])
        return rollout_stateful(network, inputs, leads=leads, memory=memory)[0]

    return probe_radius(go_on, seen)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("leads", [1, 2, 4])
def test_leads_that_go_on_from_a_memory_look_no_farther_than_first_ones(
    kernel: int, layers: int, leads: int
) -> None:
    kind = built(make_convlstm, history=4, layers=layers, kernel=kernel, memory="carried")
    radius, head = kernel // 2, 1
    looked = probe_later(kind, leads)
    assert looked == leads * (radius * layers + head)
    assert looked < kind.network().reach.radius(leads)


def test_a_carried_memory_reaches_as_far_as_a_window() -> None:
    window, carried = (
        built(make_convlstm, history=4, layers=2, memory=memory).network().reach
        for memory in ("window", "carried")
    )
    assert window == carried


def test_a_head_that_emits_all_leads_looks_no_farther_than_for_one() -> None:
    reach = DirectHead(history=4, emits=6).reach
    assert reach.radius(1) == reach.radius(6) == 5
    assert reach.radius(7) > reach.radius(6)
