import itertools

import pytest
import torch
from torch import Tensor

from pipeline.models import ConvLSTM, ConvLSTMSpec
from pipeline.models.probe import probe_radius
from pipeline.models.roll import RolloutInputs, rollout

SHAPES = [
    ConvLSTMSpec(channels=2, history=history, hidden=hidden, kernel=kernel, head=head)
    for history, hidden, kernel, head in itertools.product(
        (1, 2, 4), ((2,), (2, 3)), (3, 5), ((), (2,))
    )
]


def random_network(shape: ConvLSTMSpec) -> ConvLSTM:
    torch.manual_seed(0)
    network = ConvLSTM(shape).double().eval()
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return network


def rolled(network: ConvLSTM, frames: Tensor, leads: int) -> Tensor:
    """Roll out with constant validity, as a function of the observed frames alone."""
    n, history, _, height, width = frames.shape
    inputs = RolloutInputs(
        target=frames[:, :, 0],
        valid=torch.ones(n, history, height, width, dtype=torch.bool),
        forcings=torch.zeros(n, history + leads - 1, 0, height, width).double(),
        statics=torch.zeros(n, 0, height, width).double(),
        domain=torch.ones(n, height, width, dtype=torch.bool),
    )
    return rollout(network, inputs, leads=leads)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("leads", [1, 2, 3])
def test_the_stated_reach_is_the_reach_of_the_real_network(
    shape: ConvLSTMSpec, leads: int
) -> None:
    network = random_network(shape)
    stated = network.reach.radius(leads)
    side = 2 * stated + 5
    frames = torch.randn(1, shape.history, 1, side, side, dtype=torch.float64)
    assert probe_radius(lambda seen: rolled(network, seen, leads), frames) == stated


def test_twelve_months_from_twelve_need_47_pixels_where_the_naive_halo_is_168() -> None:
    network = ConvLSTM(ConvLSTMSpec(channels=9, history=12))
    assert network.reach.radius(12) == 47
    assert 12 * network.reach.radius(1) == 168


def test_a_forecast_of_no_leads_is_refused() -> None:
    with pytest.raises(ValueError, match="leads=0 is not a forecast"):
        ConvLSTM(ConvLSTMSpec(channels=2, history=2)).reach.radius(0)
