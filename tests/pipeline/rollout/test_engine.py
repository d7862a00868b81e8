import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.executors import SerialExecutor
from pipeline.rollout.baselines import (
    CLIMATOLOGY,
    PERSISTENCE,
    SEASONAL_NAIVE,
    available_baselines,
    forecast_baselines,
)
from pipeline.rollout.device import pick_device
from pipeline.rollout.engine import roll_out
from pipeline.rollout.evaluate import Evaluation, evaluate_part, plan_hindcasts
from pipeline.rollout.forecaster import forecaster_of, open_forecaster
from pipeline.rollout.hindcast import MODEL, plan_hindcast_tiles
from pipeline.rollout.precision import describe_precision
from pipeline.rollout.prepare import build_request
from pipeline.rollout.publishing import ledger_of
from pipeline.specs import build_hindcast_spec, build_rollout_spec
from stores.bundle import open_bundle
from stores.errors import GridError
from stores.forecast import (
    commit_forecast,
    open_forecast,
)
from stores.issue import FORECAST
from stores.progress import no_progress
from stores.times import parse_time
from tests.make_rollout import LEADS, Made, ask, forecast, frames, make_model, plan, stage


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A cube and a model that were really ingested and trained, once for all tests here."""
    return make_model(tmp_path_factory.mktemp("made"))


@pytest.mark.parametrize("core", [5, 8, 11])
def test_a_forecast_in_tiles_equals_that_of_the_whole_grid(
    made: Made, tmp_path: Path, core: int
) -> None:
    whole = forecast(made, tmp_path / "whole", 32)
    tiled = forecast(made, tmp_path / "tiled", core)
    assert len(plan(made, 32).tiles) == 1
    assert len(plan(made, core).tiles) > 1
    assert np.nanstd(frames(whole)) > 1
    np.testing.assert_allclose(frames(tiled), frames(whole), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("block", [1, 3, pytest.param(2, marks=pytest.mark.slow)])
def test_a_forecast_in_blocks_of_leads_equals_that_in_one_block(
    made: Made, tmp_path: Path, block: int
) -> None:
    whole = forecast(made, tmp_path / "whole", 32)
    blocks = forecast(made, tmp_path / "blocks", 7, block)
    planned = plan(made, 7, block)
    assert len(planned.blocks) > 1
    assert planned.halo_px < plan(made, 7).halo_px
    np.testing.assert_allclose(frames(blocks), frames(whole), rtol=1e-5, atol=1e-4)


def test_land_is_finite_and_the_sea_is_not(made: Made, tmp_path: Path) -> None:
    rolled = forecast(made, tmp_path, 16)
    domain = rolled.read_domain()
    assert 0 < domain.mean() < 1
    assert (np.isfinite(frames(rolled)) == domain).all()
    assert np.nanmin(frames(rolled)) >= 0


@pytest.mark.parametrize(("block", "steps"), [(4, 2), (2, 2), (2, 8)])
def test_a_rerun_skips_the_tiles_that_are_done(
    made: Made, tmp_path: Path, block: int, steps: int
) -> None:
    tiles = plan(made, 8, block)
    staged = stage(made, tmp_path, tiles)
    request = ask(made, init="2006-06")
    interrupted = roll_out(request, tiles, staged, executor=SerialExecutor())
    for _ in range(steps):
        next(interrupted)
    n_done = len(ledger_of(staged).done_keys())
    assert 0 < n_done < tiles.n_tasks
    again = list(roll_out(request, tiles, staged, executor=SerialExecutor()))
    assert again[0].done == n_done
    assert again[-1].done == tiles.n_tasks
    commit_forecast(staged)
    resumed = frames(open_forecast(staged / FORECAST))
    np.testing.assert_array_equal(resumed, frames(forecast(made, tmp_path / "calm", 8, block)))


def test_tiles_computed_together_equal_tiles_computed_alone(
    made: Made,
) -> None:
    forecaster = open_forecaster((made[2].path,), made[1].path, "cpu")
    tiles = plan(made, 8).tiles
    request = ask(made, init="2006-06")
    together = forecaster.forecast_normalized(tiles[:3], request)
    alone = np.concatenate(
        [forecaster.forecast_normalized([tile], request) for tile in tiles[:3]]
    )
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6)


def test_scores_do_not_depend_on_tiles(made: Made) -> None:
    recipe, cube, bundle = made
    tables = [
        evaluate_part(
            build_hindcast_spec(recipe, "test"),
            ask(made),
            plan(made, core).tiles,
            executor=SerialExecutor(),
            on_progress=no_progress,
        ).table.set_index(["method", "lead"])
        for core in (32, 9)
    ]
    planned = plan_hindcasts(build_hindcast_spec(recipe, "test"), bundle, cube, LEADS)
    assert len(planned.inits) == 17
    assert set(tables[0].index.get_level_values("method")) == {
        MODEL,
        PERSISTENCE,
        CLIMATOLOGY,
        SEASONAL_NAIVE,
    }
    numbers = [table.drop(columns="units").astype(float) for table in tables]
    np.testing.assert_allclose(numbers[0], numbers[1], rtol=1e-4)


def test_tiles_without_a_pixel_of_the_domain_are_not_scored(made: Made) -> None:
    request = ask(made, init="2006-06")
    tiles = plan(made, 5).tiles
    cases = plan_hindcast_tiles(request, [request.init], tiles, "test")
    source = forecaster_of(request).source
    assert [case.tile for case in cases] == [t for t in tiles if source.domain(t.owns).any()]
    assert len(cases) < len(tiles)


def test_baselines_are_what_their_names_say(made: Made) -> None:
    source = open_forecaster((made[2].path,), made[1].path, "cpu").source
    tile = plan(made, 32).tiles[0]
    init = parse_time("2006-06")
    times = made[1].step.range(parse_time("2006-07"), parse_time("2007-08"))
    methods = available_baselines(made[1], "rain", init)
    found = forecast_baselines(source, tile, init, times, methods)
    observed = source.truth(tile.owns, made[1].times)
    index = int(np.flatnonzero(made[1].times == init)[0])
    np.testing.assert_array_equal(found[PERSISTENCE][5], observed[index])
    np.testing.assert_array_equal(found[SEASONAL_NAIVE][0], observed[index - 11])
    np.testing.assert_array_equal(found[SEASONAL_NAIVE][13], observed[index - 10])
    np.testing.assert_array_equal(found[CLIMATOLOGY][0], found[CLIMATOLOGY][12])


def test_scores_survive_being_written(made: Made, tmp_path: Path) -> None:
    scored = evaluate_part(
        build_hindcast_spec(made[0], "validation"),
        ask(made),
        plan(made, 32).tiles,
        executor=SerialExecutor(),
        on_progress=no_progress,
    )
    scored.save(tmp_path)
    read = Evaluation.load(tmp_path, scored.key, "validation")
    assert read is not None
    assert read.inits == scored.inits
    assert list(read.table["lead"]) == list(scored.table["lead"])
    np.testing.assert_allclose(read.table["rmse"], scored.table["rmse"])
    assert Evaluation.load(tmp_path, scored.key, "test") is None


def test_an_init_without_enough_history_is_refused_with_one_that_has(
    made: Made,
) -> None:
    with pytest.raises(
        ValueError, match=r"init=2000-02 has not enough history.*from 2000-03 on"
    ):
        ask(made, init="2000-02")


def test_an_init_outside_the_cube_is_refused_with_what_it_holds(
    made: Made,
) -> None:
    with pytest.raises(ValueError, match="holds rain from 2000-01 to 2007-12"):
        ask(made, init="2012-01")


def test_without_an_init_the_last_frame_of_the_target_is_taken(
    made: Made,
) -> None:
    assert ask(made).init == made[1].step_times("rain")[-1]


def test_a_bundle_of_another_grid_is_refused_with_both_grids(
    made: Made,
) -> None:
    recipe, cube, bundle = made
    shifted = replace(cube, grid=cube.grid.translate_pix(0.5, 0))
    with pytest.raises(GridError, match="bundle was trained on grid"):
        build_request(build_rollout_spec(recipe), [bundle], shifted, init=None, leads=None)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert pick_device("auto") == "cpu"
    with pytest.raises(ValueError, match=r"torch sees no GPU.*compute\.device=cpu"):
        pick_device("cuda")


def test_the_bundle_alone_reproduces_a_forecast(made: Made, tmp_path: Path) -> None:
    moved = tmp_path / made[2].path.name
    shutil.copytree(made[2].path, moved)
    request = ask(made, init="2006-06")
    tiles = plan(made, 32).tiles
    first = forecaster_of(request).forecast_physical(tiles[0], request)
    again = forecaster_of(replace(request, bundles=(open_bundle(moved).path,)))
    assert again is not forecaster_of(request)
    np.testing.assert_array_equal(again.forecast_physical(tiles[0], request), first)


def test_without_a_year_before_the_first_init_there_is_no_seasonal_naive(
    made: Made,
) -> None:
    cube = made[1]
    assert SEASONAL_NAIVE in available_baselines(cube, "rain", parse_time("2000-12"))
    assert SEASONAL_NAIVE not in available_baselines(cube, "rain", parse_time("2000-11"))


def test_bf16_says_how_far_it_is_from_float32(made: Made) -> None:
    request = ask(made.asking(precision="bf16"), init="2006-06")
    tiles = plan(made, 16).tiles
    attributes = describe_precision(request, tiles, SerialExecutor())
    assert attributes["precision"] == "bf16"
    assert (
        0 < max(attributes["precision_error_rms"]) < max(attributes["precision_error_largest"])
    )
    forecast = forecaster_of(request).forecast_physical(tiles[0], request)
    assert max(attributes["precision_error_largest"]) < 0.1 * np.nanmax(forecast)
    assert describe_precision(replace(request, precision="32"), tiles, SerialExecutor()) == {}
