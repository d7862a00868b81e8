"""The promise of the rollout: tiles of any size give the forecast of the whole grid."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.models import ConvLSTM, ConvLSTMSpec
from pipeline.models.roll import RolloutInputs, rollout
from pipeline.tiling.tiles import plan_tiles
from stores.windows import Window

HISTORY, LEADS = 3, 4


def make_network(seed: int, hidden: tuple[int, ...]) -> ConvLSTM:
    torch.manual_seed(seed)
    shape = ConvLSTMSpec(channels=5, history=HISTORY, hidden=hidden, head=(3,))
    network = ConvLSTM(shape).double().eval()
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.8)
    return network


def make_inputs(height: int, width: int, seed: int) -> RolloutInputs:
    draw = torch.Generator().manual_seed(seed)
    valid = torch.rand(1, HISTORY, height, width, generator=draw) > 0.2
    target = torch.randn(1, HISTORY, height, width, generator=draw, dtype=torch.float64)
    frames = HISTORY + LEADS - 1
    return RolloutInputs(
        target=target * valid,
        valid=valid,
        forcings=torch.randn(1, frames, 2, height, width, generator=draw, dtype=torch.float64),
        statics=torch.randn(1, 1, height, width, generator=draw, dtype=torch.float64),
        domain=torch.rand(1, height, width, generator=draw) > 0.3,
    )


def cut(inputs: RolloutInputs, window: Window) -> RolloutInputs:
    return RolloutInputs(*(part[..., *window.slices] for part in inputs))


def tiled(network: ConvLSTM, inputs: RolloutInputs, *, core: int, halo: int) -> Tensor:
    height, width = inputs.domain.shape[-2:]
    stitched = torch.full((1, LEADS, height, width), torch.nan, dtype=torch.float64)
    tiles = plan_tiles((height, width), core=core, halo=halo)
    assert len(tiles) > 1
    for tile in tiles:
        part = rollout(network, cut(inputs, tile.reads), leads=LEADS)
        stitched[..., *tile.owns.slices] = part[..., *tile.crop.slices]
    return stitched


@given(
    height=st.sampled_from([29, 37, 53]),
    width=st.sampled_from([31, 43, 59]),
    core=st.integers(5, 28),
    hidden=st.sampled_from([(2,), (2, 3)]),
    seed=st.integers(0, 99),
)
@settings(max_examples=25)
def test_tiles_with_the_stated_halo_give_the_untiled_forecast(
    height: int, width: int, core: int, hidden: tuple[int, ...], seed: int
) -> None:
    network, inputs = make_network(seed, hidden), make_inputs(height, width, seed)
    with torch.inference_mode():
        whole = rollout(network, inputs, leads=LEADS)
        stitched = tiled(network, inputs, core=core, halo=network.reach.radius(LEADS))
    assert whole[:, -1].std() > 1e-3
    torch.testing.assert_close(stitched, whole, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("hidden", [(2,), (2, 3)])
def test_one_pixel_less_halo_shows_a_seam(hidden: tuple[int, ...]) -> None:
    network, inputs = make_network(0, hidden), make_inputs(97, 97, 0)
    with torch.inference_mode():
        whole = rollout(network, inputs, leads=LEADS)
        stitched = tiled(network, inputs, core=32, halo=network.reach.radius(LEADS) - 1)
    assert (stitched - whole).abs().max() > 1e-12
