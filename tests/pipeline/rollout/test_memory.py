"""Networks that carry their memory from block to block, through the stores."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.executors import SerialExecutor
from pipeline.rollout.cost import rollout_flops_per_px
from pipeline.rollout.engine import roll_out
from pipeline.rollout.forecaster import forecaster_of
from pipeline.rollout.publishing import ledger_of
from stores.forecast import commit_forecast, open_forecast
from stores.issue import FORECAST
from tests.make_rollout import INIT, Made, ask, forecast, frames, make_model, plan, stage


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A model that was trained to go on from its memory."""
    model = {"memory": "carried", "hidden": [4, 3], "dropout": 0.4}
    return make_model(tmp_path_factory.mktemp("made"), model=model)


@pytest.mark.parametrize(
    ("core", "block", "batch"),
    [
        (7, 4, 1),
        (9, 2, 2),
        *(pytest.param(*cut, marks=pytest.mark.slow) for cut in ((8, 1, 3), (6, 3, 1))),
    ],
)
def test_a_memory_that_is_handed_over_gives_the_forecast_of_the_whole_grid(
    made: Made, tmp_path: Path, core: int, block: int, batch: int
) -> None:
    whole = frames(forecast(made, tmp_path / "whole", 32))
    cut = frames(forecast(made, tmp_path / "cut", core, block, batch=batch))
    assert forecaster_of(ask(made, init=INIT)).memory_channels == 14
    assert len(plan(made, core, block).tiles) > 1
    np.testing.assert_allclose(cut, whole, rtol=1e-5, atol=1e-4)


@pytest.mark.slow
def test_members_carry_memories_of_their_own(made: Made, tmp_path: Path) -> None:
    asked = made.asking(members=3, perturb={"noise": 0.3})
    whole = forecast(asked, tmp_path / "whole", 32)
    cut = forecast(asked, tmp_path / "cut", 12, 1)
    assert np.nanmean(frames(whole, "rain_sd")) > 0.1
    for name in whole.variables:
        np.testing.assert_allclose(frames(cut, name), frames(whole, name), rtol=1e-4, atol=1e-3)


def test_an_interrupted_rollout_goes_on_from_the_memories_that_were_written(
    made: Made, tmp_path: Path
) -> None:
    rollout_plan = plan(made, 12, 1)
    request = ask(made, init=INIT)
    staged = stage(made, tmp_path / "cut", rollout_plan)
    interrupted = roll_out(request, rollout_plan, staged, executor=SerialExecutor())
    for _ in range(15):
        next(interrupted)
    assert rollout_plan.n_tiles < len(ledger_of(staged).done_keys()) < rollout_plan.n_tasks
    rest = list(roll_out(request, rollout_plan, staged, executor=SerialExecutor()))
    assert rest[-1].done == rollout_plan.n_tasks
    commit_forecast(staged)
    resumed = frames(open_forecast(staged / FORECAST))
    np.testing.assert_array_equal(resumed, frames(forecast(made, tmp_path / "calm", 12, 1)))


def test_a_carried_memory_costs_a_sum_of_steps_where_a_window_costs_a_product(
    made: Made,
) -> None:
    shape = replace(forecaster_of(ask(made, init=INIT)).networks[0].shape, history=12)  # type: ignore[attr-defined]
    window = replace(shape, memory="window")
    assert rollout_flops_per_px(window, 12, 12) > 5 * rollout_flops_per_px(shape, 12, 12)
