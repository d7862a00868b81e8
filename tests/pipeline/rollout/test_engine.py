import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.recipes import Recipe, load_recipe
from pipeline.rollout.device import pick_device
from pipeline.rollout.engine import roll_out
from pipeline.rollout.evaluate import Evaluation, evaluate_part, plan_hindcasts
from pipeline.rollout.forecaster import forecaster_of, open_forecaster
from pipeline.rollout.hindcast import (
    CLIMATOLOGY,
    MODEL,
    PERSISTENCE,
    SEASONAL_NAIVE,
    baselines,
    possible_baselines,
)
from pipeline.rollout.plan import RolloutPlan, Workers
from pipeline.rollout.prepare import build_plan, build_request
from pipeline.rollout.publishing import ledger_of
from pipeline.rollout.request import Request
from pipeline.spread import InPlace
from pipeline.streams.transforms import Values
from pipeline.training.bundle import train_bundle
from stores.bundle import Bundle, open_bundle
from stores.cube import Cube
from stores.errors import GridError
from stores.forecast import (
    Forecast,
    create_forecast,
    finish_forecast,
    open_forecast,
)
from stores.forecast_template import ForecastTemplate, ForecastVariable
from stores.issue import FORECAST, IssueKey, open_stage
from stores.times import parse_time
from tests.make import make_cube

WORKERS = Workers(1, 10**9)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Cube, Bundle]:
    """A cube and a model that were really ingested and trained, once for all tests here."""
    folder = tmp_path_factory.mktemp("made")
    cube = make_cube(folder, training={"epochs": 3, "lr": 0.02})
    recipe = load_recipe(folder / "recipe.yaml")
    bundle = train_bundle(recipe, cube, (folder / "models", folder / "logs"), spread=InPlace())
    return recipe, Cube.open(cube), bundle


def ask(
    made: tuple[Recipe, Cube, Bundle], *, init: str | None = None, leads: int | None = None
) -> Request:
    recipe, cube, bundle = made
    return build_request(recipe, bundle, cube, init=init, leads=leads)


def plan(made: tuple[Recipe, Cube, Bundle], core: int, block: int = 4) -> RolloutPlan:
    recipe, cube, bundle = made
    rollout = recipe.rollout.with_values(tile_px=core, block_leads=block)
    return build_plan(recipe.with_values(rollout=rollout), bundle, cube, 4, WORKERS)


def stage(made: tuple[Recipe, Cube, Bundle], root: Path, tiles: RolloutPlan) -> Path:
    recipe, cube, bundle = made
    request = ask(made, init="2006-06")
    key = IssueKey(recipe.fingerprint(), bundle.digest, cube.version, "2006-06", 4)
    staged = open_stage(root, key)
    variable = ForecastVariable(recipe.target.variable, recipe.target_variable.units)
    template = ForecastTemplate(
        cube.grid, (variable,), cube.step, request.init, 4, layout=tiles.layout
    )
    create_forecast(staged, template)
    return staged


def forecast(
    made: tuple[Recipe, Cube, Bundle], root: Path, core: int, block: int = 4
) -> Forecast:
    tiles = plan(made, core, block)
    staged = stage(made, root, tiles)
    for progress in roll_out(ask(made, init="2006-06"), tiles, staged, spread=InPlace()):
        assert progress.total == tiles.n_tasks
    finish_forecast(staged)
    return open_forecast(staged / FORECAST)


def frames(rolled: Forecast) -> Values:
    return np.stack([rolled.read("rain", lead) for lead in range(1, 5)])


@pytest.mark.parametrize("core", [5, 8, 11])
def test_a_forecast_in_tiles_equals_that_of_the_whole_grid(
    made: tuple[Recipe, Cube, Bundle], tmp_path: Path, core: int
) -> None:
    whole = forecast(made, tmp_path / "whole", 32)
    tiled = forecast(made, tmp_path / "tiled", core)
    assert len(plan(made, 32).tiles) == 1
    assert len(plan(made, core).tiles) > 1
    assert np.nanstd(frames(whole)) > 1
    np.testing.assert_allclose(frames(tiled), frames(whole), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("block", [1, 2, 3])
def test_a_forecast_in_blocks_of_leads_equals_that_in_one_block(
    made: tuple[Recipe, Cube, Bundle], tmp_path: Path, block: int
) -> None:
    whole = forecast(made, tmp_path / "whole", 32)
    blocks = forecast(made, tmp_path / "blocks", 7, block)
    planned = plan(made, 7, block)
    assert len(planned.blocks) > 1
    assert planned.halo_px < plan(made, 7).halo_px
    np.testing.assert_allclose(frames(blocks), frames(whole), rtol=1e-5, atol=1e-4)


def test_land_is_finite_and_the_sea_is_not(
    made: tuple[Recipe, Cube, Bundle], tmp_path: Path
) -> None:
    rolled = forecast(made, tmp_path, 16)
    domain = rolled.read_domain()
    assert 0 < domain.mean() < 1
    assert (np.isfinite(frames(rolled)) == domain).all()
    assert np.nanmin(frames(rolled)) >= 0


@pytest.mark.parametrize(("block", "steps"), [(4, 2), (2, 2), (2, 8)])
def test_a_rerun_skips_the_tiles_that_are_done(
    made: tuple[Recipe, Cube, Bundle], tmp_path: Path, block: int, steps: int
) -> None:
    tiles = plan(made, 8, block)
    staged = stage(made, tmp_path, tiles)
    request = ask(made, init="2006-06")
    interrupted = roll_out(request, tiles, staged, spread=InPlace())
    for _ in range(steps):
        next(interrupted)
    n_done = len(ledger_of(staged).done())
    assert 0 < n_done < tiles.n_tasks
    again = list(roll_out(request, tiles, staged, spread=InPlace()))
    assert again[0].done == n_done
    assert again[-1].done == tiles.n_tasks
    finish_forecast(staged)
    resumed = frames(open_forecast(staged / FORECAST))
    np.testing.assert_array_equal(resumed, frames(forecast(made, tmp_path / "calm", 8, block)))


def test_tiles_computed_together_equal_tiles_computed_alone(
    made: tuple[Recipe, Cube, Bundle],
) -> None:
    forecaster = open_forecaster((made[2].path,), made[1].path, "cpu")
    tiles, request = plan(made, 8).tiles, ask(made, init="2006-06")
    together = forecaster.normalized(tiles[:3], request)
    alone = np.concatenate([forecaster.normalized([tile], request) for tile in tiles[:3]])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6)


def test_scores_do_not_depend_on_tiles(made: tuple[Recipe, Cube, Bundle]) -> None:
    recipe, cube, _ = made
    tables = [
        evaluate_part(
            recipe,
            ask(made),
            plan(made, core).tiles,
            "test",
            spread=InPlace(),
            tell=lambda done, total: None,
        ).table.set_index(["method", "lead"])
        for core in (32, 9)
    ]
    assert len(plan_hindcasts(recipe, cube, "test")) == 17
    assert set(tables[0].index.get_level_values("method")) == {
        MODEL,
        PERSISTENCE,
        CLIMATOLOGY,
        SEASONAL_NAIVE,
    }
    numbers = [table.drop(columns="units").astype(float) for table in tables]
    np.testing.assert_allclose(numbers[0], numbers[1], rtol=1e-4)


def test_baselines_are_what_their_names_say(made: tuple[Recipe, Cube, Bundle]) -> None:
    source = open_forecaster((made[2].path,), made[1].path, "cpu").source
    tile = plan(made, 32).tiles[0]
    init = parse_time("2006-06")
    times = made[1].step.range(parse_time("2006-07"), parse_time("2007-08"))
    methods = possible_baselines(made[1], init)
    found = baselines(source, tile, init, times, methods)
    observed = source.truth(tile.owns, made[1].times)
    index = int(np.flatnonzero(made[1].times == init)[0])
    np.testing.assert_array_equal(found[PERSISTENCE][5], observed[index])
    np.testing.assert_array_equal(found[SEASONAL_NAIVE][0], observed[index - 11])
    np.testing.assert_array_equal(found[SEASONAL_NAIVE][13], observed[index - 10])
    np.testing.assert_array_equal(found[CLIMATOLOGY][0], found[CLIMATOLOGY][12])


def test_scores_survive_being_written(
    made: tuple[Recipe, Cube, Bundle], tmp_path: Path
) -> None:
    scored = evaluate_part(
        made[0],
        ask(made),
        plan(made, 32).tiles,
        "validation",
        spread=InPlace(),
        tell=lambda done, total: None,
    )
    scored.save(tmp_path)
    read = Evaluation.load(tmp_path, "validation")
    assert read is not None
    assert read.inits == scored.inits
    assert list(read.table["lead"]) == list(scored.table["lead"])
    np.testing.assert_allclose(read.table["rmse"], scored.table["rmse"])
    assert Evaluation.load(tmp_path, "test") is None


def test_an_init_without_enough_history_is_refused_with_one_that_has(
    made: tuple[Recipe, Cube, Bundle],
) -> None:
    with pytest.raises(
        ValueError, match=r"init=2000-02 has not enough history.*from 2000-03 on"
    ):
        ask(made, init="2000-02")


def test_an_init_outside_the_cube_is_refused_with_what_it_holds(
    made: tuple[Recipe, Cube, Bundle],
) -> None:
    with pytest.raises(ValueError, match="holds 2000-01 to 2007-12"):
        ask(made, init="2012-01")


def test_without_an_init_the_last_frame_of_the_cube_is_taken(
    made: tuple[Recipe, Cube, Bundle],
) -> None:
    assert ask(made).init == made[1].times[-1]


def test_a_bundle_of_another_grid_is_refused_with_both_grids(
    made: tuple[Recipe, Cube, Bundle],
) -> None:
    recipe, cube, bundle = made
    shifted = replace(cube, grid=cube.grid.translate_pix(0.5, 0))
    with pytest.raises(GridError, match="bundle was trained on grid"):
        build_request(recipe, bundle, shifted, init=None, leads=None)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert pick_device("auto") == "cpu"
    with pytest.raises(ValueError, match=r"torch sees no GPU.*compute\.device=cpu"):
        pick_device("cuda")


def test_the_bundle_alone_reproduces_a_forecast(
    made: tuple[Recipe, Cube, Bundle], tmp_path: Path
) -> None:
    moved = tmp_path / made[2].path.name
    shutil.copytree(made[2].path, moved)
    request = ask(made, init="2006-06")
    tiles = plan(made, 32).tiles
    first = forecaster_of(request).physical(tiles[0], request)
    again = forecaster_of(replace(request, bundles=(open_bundle(moved).path,)))
    assert again is not forecaster_of(request)
    np.testing.assert_array_equal(again.physical(tiles[0], request), first)


def test_without_a_year_before_the_first_init_there_is_no_seasonal_naive(
    made: tuple[Recipe, Cube, Bundle],
) -> None:
    cube = made[1]
    assert SEASONAL_NAIVE in possible_baselines(cube, parse_time("2000-12"))
    assert SEASONAL_NAIVE not in possible_baselines(cube, parse_time("2000-11"))
