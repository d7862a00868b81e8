import pytest
import torch

from pipeline.models import (
    ConvLSTM,
    ConvLSTMSpec,
    build_network,
    count_parameters,
    describe_network,
    parse_network_spec,
)
from pipeline.models.cells import ConvLSTMCell


def test_the_xco2_network_has_the_published_number_of_parameters_less_its_unused_biases() -> (
    None
):
    # 287,489 with nine channels; ours keeps no second bias, and adds none.
    network = ConvLSTM(ConvLSTMSpec(channels=9, history=12))
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


NARROW_AND_WIDE = pytest.mark.parametrize("hidden", [(3, 4), (16, 17)], ids=str)


def random_network(shape: ConvLSTMSpec) -> ConvLSTM:
    torch.manual_seed(1)
    network = ConvLSTM(shape).double().eval()
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return network


@NARROW_AND_WIDE
def test_forecasts_are_those_of_the_network_that_was_trained(hidden: tuple[int, ...]) -> None:
    # Without gradients other operations, in another order of memory, do the same.
    network = random_network(ConvLSTMSpec(channels=3, history=4, hidden=hidden))
    frames = torch.randn(2, 4, 3, 11, 13, dtype=torch.float64)
    trained = network(frames)
    with torch.inference_mode():
        forecast = network(frames)
    assert trained.requires_grad
    assert trained.std() > 1e-2
    torch.testing.assert_close(forecast, trained.detach(), rtol=0, atol=1e-12)


@NARROW_AND_WIDE
@pytest.mark.parametrize("n_statics", [0, 1, 2])
@pytest.mark.parametrize("learning", [False, True])
def test_statics_that_are_convolved_once_equal_statics_in_every_frame(
    hidden: tuple[int, ...], n_statics: int, learning: bool
) -> None:
    network = random_network(ConvLSTMSpec(channels=3, history=4, hidden=hidden))
    moving = torch.randn(2, 4, 3 - n_statics, 11, 13, dtype=torch.float64)
    statics = torch.randn(2, n_statics, 11, 13, dtype=torch.float64)
    whole = torch.cat([moving, statics[:, None].expand(-1, 4, -1, -1, -1)], dim=2)
    with torch.set_grad_enabled(learning):
        encoded = network.encode_dynamic(moving, network.encode_static(statics))
        expected = network.cells[0].project_input(whole)  # type: ignore[operator]
    torch.testing.assert_close(encoded, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("residual", ["none", "persistence"])
def test_an_untrained_network_forecasts_its_mean_or_the_last_frame(residual: str) -> None:
    network = ConvLSTM(
        ConvLSTMSpec(channels=3, history=2, hidden=(4,), residual=residual)
    ).eval()
    frames = torch.randn(2, 2, 3, 8, 8)
    expected = frames[:, -1, 0] if residual == "persistence" else torch.zeros(2, 8, 8)
    torch.testing.assert_close(network(frames), expected)


def test_a_network_is_rebuilt_from_its_description_and_weights() -> None:
    torch.manual_seed(1)
    network = ConvLSTM(ConvLSTMSpec(channels=3, history=2, hidden=(4, 5))).eval()
    torch.nn.init.normal_(network.head[-1].weight)  # type: ignore[arg-type]
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    rebuilt = build_network(describe_network(network.shape), weights)
    frames = torch.randn(1, 2, 3, 8, 8)
    torch.testing.assert_close(rebuilt(frames), network(frames), rtol=0, atol=0)


def test_weights_of_another_network_are_refused() -> None:
    network = ConvLSTM(ConvLSTMSpec(channels=3, history=2, hidden=(4,)))
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    other = describe_network(ConvLSTMSpec(channels=3, history=2, hidden=(5,)))
    with pytest.raises(ValueError, match="weights do not fit"):
        build_network(other, weights)


def test_a_memory_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model.memory 'endless' is unknown"):
        ConvLSTMSpec(channels=3, history=2, memory="endless")


def test_a_bundle_that_says_nothing_of_memory_reads_windows() -> None:
    description = describe_network(ConvLSTMSpec(channels=3, history=2))
    del description["memory"]
    assert not ConvLSTM(parse_network_spec(description)).reading.carries


def test_a_family_that_is_not_known_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'transformer' is unknown"):
        build_network({"family": "transformer"}, {})
