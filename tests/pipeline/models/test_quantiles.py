"""Networks of quantiles: outputs that never cross, and a median that is fed back."""

from statistics import NormalDist

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pipeline.models import (
    ConvLSTM,
    ConvLSTMSpec,
    StepSpec,
    describe_network,
    parse_network_spec,
)
from pipeline.models.quantiles import enforce_order, initial_bias, median_index
from pipeline.models.roll import rollout
from tests.networks import Built, make_convlstm, make_inputs

LEVELS = (0.025, 0.1, 0.5, 0.9)
levels = st.lists(
    st.sampled_from([0.01, 0.05, 0.1, 0.25, 0.4, 0.6, 0.75, 0.9, 0.99]), unique=True, min_size=1
).map(lambda others: tuple(sorted([*others, 0.5])))


@given(levels=levels, scale=st.sampled_from([0.1, 1.0, 300.0]), seed=st.integers(0, 99))
def test_quantiles_never_cross_whatever_the_outputs_are(
    levels: tuple[float, ...], scale: float, seed: int
) -> None:
    drawn = torch.Generator().manual_seed(seed)
    outputs = scale * torch.randn(2, len(levels), 5, 7, generator=drawn)
    median = median_index(levels)
    ordered = enforce_order(outputs, median)
    assert (ordered.diff(dim=1) >= 0).all()
    assert torch.equal(ordered[:, median], outputs[:, median])
    assert (outputs.diff(dim=1) < 0).any()


@given(
    levels=levels,
    memory=st.sampled_from(["window", "carried"]),
    residual=st.sampled_from(["none", "persistence"]),
    seed=st.integers(0, 99),
)
def test_quantiles_of_random_networks_never_cross_at_any_lead(
    levels: tuple[float, ...], memory: str, residual: str, seed: int
) -> None:
    sizes = {"history": 2, "quantiles": levels, "memory": memory, "residual": residual}
    network = Built(make_convlstm, sizes).network(seed)
    inputs = make_inputs(network.reading, (9, 11), leads=3, batch=2, seed=seed)
    with torch.inference_mode():
        rolled = rollout(network, inputs, leads=3)
    assert rolled.shape == (len(levels), 2, 3, 9, 11)
    assert (rolled.diff(dim=0) > 0).all()


@given(levels=levels)
def test_outputs_start_as_the_quantiles_of_a_normal_distribution(
    levels: tuple[float, ...],
) -> None:
    outputs = initial_bias(levels)[None, :, None, None]
    found = enforce_order(outputs, median_index(levels))[0, :, 0, 0]
    expected = torch.tensor([NormalDist().inv_cdf(level) for level in levels])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("residual", ["none", "persistence"])
def test_the_median_of_an_untrained_network_is_the_mean_or_the_last_frame(
    residual: str,
) -> None:
    shape = ConvLSTMSpec(3, 2, hidden=(4,), residual=residual, quantiles=LEVELS)
    frames = torch.randn(2, 2, 3, 8, 8)
    given_back = ConvLSTM(shape).eval()(frames)
    start = frames[:, -1, 0] if residual == "persistence" else torch.zeros(2, 8, 8)
    assert torch.equal(given_back[:, 2], start)
    torch.testing.assert_close(given_back[:, 3], start + 1.2815516)


class Steps:
    """Give the last frame and one more, each with quantiles one apart."""

    def __init__(self, emits: int) -> None:
        self.reading = StepSpec(2, emits=emits, quantiles=(0.1, 0.5, 0.8))
        self.read: list[list[float]] = []

    def __call__(self, frames: Tensor) -> Tensor:
        self.read.append(frames[0, :, 0, 0, 0].tolist())
        first = frames[:, -1, 0] + 10  # (b, y, x)
        emitted = torch.stack([first + 10 * e for e in range(self.reading.emits)], dim=1)
        return torch.stack([emitted - 1, emitted, emitted + 1], dim=2)  # (b, e, q, y, x)


@pytest.mark.parametrize("emits", [1, 2])
def test_only_medians_are_fed_back(emits: int) -> None:
    network = Steps(emits)
    inputs = make_inputs(network.reading, (3, 4), leads=4, gaps=0.0)
    inputs = inputs._replace(target=torch.zeros_like(inputs.target))
    rolled = rollout(network, inputs, leads=4)
    assert rolled[:, 0, :, 0, 0].tolist() == [
        [9, 19, 29, 39],
        [10, 20, 30, 40],
        [11, 21, 31, 41],
    ]
    last = [[0, 0], [0, 10], [10, 20], [20, 30]] if emits == 1 else [[0, 0], [10, 20]]
    assert network.read == last


@pytest.mark.parametrize("wrong", [(0.1, 0.9), (0.9, 0.5), (0.5, 0.5), (0.5, 1.0)])
def test_quantiles_without_a_median_or_an_order_are_refused(wrong: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"do not rise between 0 and 1 or lack 0\.5"):
        StepSpec(3, quantiles=wrong)


def test_a_bundle_that_says_nothing_of_quantiles_gives_one_value() -> None:
    description = describe_network(ConvLSTMSpec(channels=3, history=2))
    del description["quantiles"]
    assert ConvLSTM(parse_network_spec(description)).reading == StepSpec(2)
    assert StepSpec(2).n_outputs == 1


def test_a_reading_survives_being_written_as_json() -> None:
    assert StepSpec(2, quantiles=[0.5, 0.9]) == StepSpec(2, quantiles=(0.5, 0.9))  # type: ignore[arg-type]
