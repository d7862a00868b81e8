"""Every kind of network goes through the same engine and stores."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.executors import SerialExecutor
from pipeline.memory import WorkerPool
from pipeline.models.step_spec import ForecastModel
from pipeline.rollout import blocks
from pipeline.rollout.engine import roll_out
from pipeline.rollout.forecaster import Forecaster, forecaster_of
from pipeline.rollout.products import list_products
from pipeline.rollout.request import ForecastRequest
from pipeline.rollout.rollout_plan import RolloutPlan, RolloutWorkload, plan_rollout
from stores.forecast import Forecast, commit_forecast, create_forecast, open_forecast
from stores.forecast_template import ForecastTemplate, ForecastVariable
from stores.issue import FORECAST, IssueKey, open_stage
from tests.make_rollout import INIT, LEADS, Made, ask, frames, make_model
from tests.networks import Built, DirectHead, PixelLSTM, UNet, WindowCNN, make_convlstm

KINDS = [
    Built(make_convlstm, {"history": 3, "layers": 2}),
    Built(make_convlstm, {"history": 3, "layers": 2, "memory": "carried"}),
    Built(make_convlstm, {"history": 3, "quantiles": (0.025, 0.5, 0.9)}),
    Built(make_convlstm, {"history": 3, "quantiles": (0.1, 0.5), "memory": "carried"}),
    Built(UNet, {"history": 2, "strides": (2,), "pooled": True}),
    Built(DirectHead, {"history": 2, "emits": 2}),
    Built(PixelLSTM, {"history": 3, "emits": 1}),
    Built(WindowCNN, {"history": 3}),
]
COVARIATES = [{"kind": "static", "variable": "elevation"}, {"kind": "derived", "of": "season"}]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A cube with the channels that the small networks read."""
    folder = tmp_path_factory.mktemp("made")
    return make_model(folder, covariates=COVARIATES, training={"epochs": 1})


def rolled(made: Made, kind: Built, root: Path, core: int, block: int) -> Forecast:
    network = kind.network()
    assert isinstance(network, nn.Module)
    request = replace(ask(made, init=INIT), quantiles=network.reading.quantiles)
    forecaster = Forecaster(
        (network.float(),), forecaster_of(request).source, torch.device("cpu")
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "forecaster_of", lambda _: forecaster)
        return roll(made, request, network, plan(made, network, core, block), root)


def plan(made: Made, network: Any, core: int, block: int) -> RolloutPlan:
    sizes = made.bundle.description["network"]
    shape = forecaster_of(ask(made, init=INIT)).networks[0].shape  # type: ignore[attr-defined]
    assert shape.channels == sizes["channels"]
    grid = made.cube.grid
    rollout = RolloutWorkload((grid.height, grid.width), network.reach, shape, LEADS)
    return plan_rollout(rollout, WorkerPool(1, 10**9), core_px=core, block_leads=block)


def roll(
    made: Made, request: ForecastRequest, network: ForecastModel, tiles: RolloutPlan, root: Path
) -> Forecast:
    cube = made.cube
    stage = open_stage(
        root, IssueKey("kinds", "recipe", ("bundle",), cube.version, INIT, LEADS)
    )
    template = ForecastTemplate(
        cube.grid,
        tuple(
            ForecastVariable(f"rain{product.suffix}", "mm month-1")
            for product in list_products(request)
        ),
        cube.step,
        request.init,
        LEADS,
        layout=tiles.layout,
        first_lead=network.reading.first_lead,
    )
    create_forecast(stage, template)
    assert list(roll_out(request, tiles, stage, executor=SerialExecutor()))
    commit_forecast(stage)
    return open_forecast(stage / FORECAST)


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_every_kind_is_rolled_out_in_tiles_and_blocks(
    made: Made, tmp_path: Path, kind: Built
) -> None:
    whole = rolled(made, kind, tmp_path / "whole", 32, LEADS)
    cut = rolled(made, kind, tmp_path / "cut", 7, 2)
    assert np.nanstd(frames(whole)[-1]) > 1e-3
    assert len(whole.variables) == kind.network().reading.n_outputs
    for name in whole.variables:
        np.testing.assert_allclose(frames(cut, name), frames(whole, name), rtol=1e-4, atol=1e-3)


def test_a_map_of_now_bears_the_date_of_now(made: Made, tmp_path: Path) -> None:
    mapped = rolled(made, KINDS[-1], tmp_path, 32, LEADS)
    assert mapped.times[0] == mapped.init
    assert list(np.asarray(mapped.group["lead"][...])) == [0, 1, 2, 3]  # type: ignore[index]


def test_a_block_that_ends_within_a_call_is_refused_with_one_that_does_not(made: Made) -> None:
    network = Built(DirectHead, {"history": 2, "emits": 3}).network()
    with pytest.raises(ValueError, match=r"no multiple of the 3 leads.*set it to 3"):
        plan(made, network, 8, 2)
