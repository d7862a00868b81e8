import pytest
import torch

from pipeline.models import (
    ConvLSTM,
    ConvLSTMShape,
    build_network,
    count_parameters,
    describe_network,
)
from pipeline.models.cells import ConvLSTMCell


def test_the_xco2_network_has_the_published_number_of_parameters_less_its_unused_biases() -> (
    None
):
    # 287,489 with nine channels; ours keeps no second bias, and adds none.
    network = ConvLSTM(ConvLSTMShape(channels=9, history=12))
    assert count_parameters(network) == 287_489


def test_the_cell_equals_one_convolution_over_input_and_hidden_maps() -> None:
    torch.manual_seed(0)
    cell = ConvLSTMCell(3, 4).double()
    frames = torch.randn(2, 5, 3, 9, 7, dtype=torch.float64)
    weight = torch.cat([cell.inputs.weight, cell.memory.weight], dim=1)
    hidden = memory = torch.zeros(2, 4, 9, 7, dtype=torch.float64)
    for frame in frames.unbind(1):
        both = torch.cat([frame, hidden], dim=1)
        gates = torch.nn.functional.conv2d(both, weight, cell.inputs.bias, padding=1)
        keep, write, show, candidate = gates.chunk(4, dim=1)
        memory = keep.sigmoid() * memory + write.sigmoid() * candidate.tanh()
        hidden = show.sigmoid() * memory.tanh()
    torch.testing.assert_close(cell(frames)[:, -1], hidden, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("residual", ["none", "persistence"])
def test_an_untrained_network_forecasts_its_mean_or_the_last_frame(residual: str) -> None:
    network = ConvLSTM(
        ConvLSTMShape(channels=3, history=2, hidden=(4,), residual=residual)
    ).eval()
    frames = torch.randn(2, 2, 3, 8, 8)
    expected = frames[:, -1, 0] if residual == "persistence" else torch.zeros(2, 8, 8)
    torch.testing.assert_close(network(frames), expected)


def test_a_network_is_rebuilt_from_its_description_and_weights() -> None:
    torch.manual_seed(1)
    network = ConvLSTM(ConvLSTMShape(channels=3, history=2, hidden=(4, 5))).eval()
    torch.nn.init.normal_(network.head[-1].weight)  # type: ignore[arg-type]
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    rebuilt = build_network(describe_network(network.shape), weights)
    frames = torch.randn(1, 2, 3, 8, 8)
    torch.testing.assert_close(rebuilt(frames), network(frames), rtol=0, atol=0)


def test_weights_of_another_network_are_refused() -> None:
    network = ConvLSTM(ConvLSTMShape(channels=3, history=2, hidden=(4,)))
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    other = describe_network(ConvLSTMShape(channels=3, history=2, hidden=(5,)))
    with pytest.raises(ValueError, match="weights do not fit"):
        build_network(other, weights)


def test_a_family_that_is_not_known_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'transformer' is unknown"):
        build_network({"family": "transformer"}, {})
