"""The tiled forecast of the real sample equals the untiled one, in normalized units."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.executors import SerialExecutor
from pipeline.models import ConvLSTM, ConvLSTMSpec
from pipeline.recipes import Recipe, load_recipe
from pipeline.rollout.forecaster import Forecaster
from pipeline.rollout.request import ForecastRequest
from pipeline.specs import build_fit_spec
from pipeline.streams.fields import FIELDS
from pipeline.streams.source import Source
from pipeline.streams.statistics import fit_stack
from pipeline.tiling.tiles import plan_tiles
from stores.array_types import Float32Array
from stores.times import parse_time
from tests.make import ingest

RECIPE = Path(__file__).parents[2] / "deploy" / "recipes" / "rainfall-java.yaml"
SHAPE, LEADS = (75, 224), 12


class Double(torch.nn.Module):
    """Compute in float64, in which a missing path is told from a small number."""

    def __init__(self, network: ConvLSTM) -> None:
        super().__init__()
        self.network = network.double()
        self.reading = network.reading

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        forecast: torch.Tensor = self.network(frames.double())
        return forecast


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Source]:
    folder = tmp_path_factory.mktemp("sample")
    recipe = load_recipe(RECIPE)
    ingest(recipe, folder / "cube.zarr")
    stack = fit_stack(
        build_fit_spec(recipe), folder / "cube.zarr", folder / FIELDS, SerialExecutor()
    )
    return recipe, Source(folder / "cube.zarr", folder / FIELDS, stack)


def build(made: tuple[Recipe, Source], *, std: float) -> tuple[Forecaster, ConvLSTM]:
    """Build the recipe's network with random weights of a given size."""
    recipe, source = made
    shape = ConvLSTMSpec(
        channels=len(source.stack.names),
        history=recipe.rollout.history,
        hidden=recipe.model.hidden,
        head=recipe.model.head,
        norm=recipe.model.norm,
    )
    torch.manual_seed(0)
    network = ConvLSTM(shape).eval()
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=std)
    return Forecaster((network,), source, torch.device("cpu")), network


def rolled(forecaster: Forecaster, *, core: int, halo: int, leads: int = LEADS) -> Float32Array:
    where = Path("unused")
    request = ForecastRequest((where,), forecaster.source.cube, parse_time("2017-12"), leads)
    stitched = np.full((leads, *SHAPE), np.nan)
    for tile in plan_tiles(SHAPE, core=core, halo=halo):
        frames = forecaster.forecast_normalized([tile], request)[0, 0]
        stitched[:, *tile.owns.slices] = frames[:, *tile.crop.slices]
    return stitched


@pytest.mark.parametrize("core", [32, 48, 64])
def test_tiles_of_the_sample_give_the_untiled_forecast(
    made: tuple[Recipe, Source], core: int
) -> None:
    forecaster, network = build(made, std=0.3)
    whole = rolled(forecaster, core=224, halo=0)
    tiled = rolled(forecaster, core=core, halo=network.reach.radius(LEADS))
    assert whole[-1].std() > 1e-2
    assert np.abs(tiled - whole).max() < 1e-5


def test_one_pixel_less_halo_shows_a_seam_on_the_sample(made: tuple[Recipe, Source]) -> None:
    forecaster, network = build(made, std=0.8)  # so large that the farthest path counts
    double = Forecaster((Double(network),), forecaster.source, forecaster.device)
    leads, halo = 4, network.reach.radius(4)
    whole = rolled(double, core=224, halo=0, leads=leads)
    exact = np.abs(rolled(double, core=64, halo=halo, leads=leads) - whole).max()
    short = np.abs(rolled(double, core=64, halo=halo - 1, leads=leads) - whole).max()
    assert exact == 0
    assert short > 1e-5
