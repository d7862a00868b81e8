from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from distributed import Client, LocalCluster

from pipeline.dask_executor import DaskExecutor
from pipeline.executors import SerialExecutor
from pipeline.metrics.calibration import Calibration
from pipeline.rollout.calibrate import calibrate, find_calibration, save_calibration
from pipeline.rollout.evaluate import Evaluation, evaluate_part
from pipeline.rollout.forecaster import forecaster_of
from pipeline.rollout.products import conformal_interval, raw_interval
from pipeline.rollout.request import ForecastRequest
from pipeline.rollout.rollout_plan import LeadBlock
from pipeline.rollout.score_key import ScoreKey
from pipeline.specs import build_hindcast_spec, build_training_spec
from pipeline.training.bundle import train_bundle
from stores.array_types import Float32Array
from stores.bundle import open_bundle
from stores.forecast import Forecast
from stores.progress import no_progress
from stores.times import parse_time
from tests.make_rollout import INIT, LEADS, Made, ask, forecast, frames, make_model, plan

NOISE = {"noise": 0.3, "noise_px": 4}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A model whose dropout is large enough that members differ."""
    return make_model(tmp_path_factory.mktemp("made"), model={"dropout": 0.5})


def products(rolled: Forecast) -> dict[str, Float32Array]:
    return {name: frames(rolled, name) for name in rolled.variables}


def forecast_whole(made: Made, request: ForecastRequest) -> Float32Array:
    """Forecast the whole grid as one tile (m, leads, y, x), normalized."""
    tile = plan(made, 32).tiles[0]
    return forecaster_of(request).forecast_owned(tile, request)


@pytest.mark.parametrize(("core", "block", "batch"), [(9, 2, 3), (16, 1, 2)])
def test_an_ensemble_in_tiles_and_blocks_equals_that_of_the_whole_grid(
    made: Made, tmp_path: Path, core: int, block: int, batch: int
) -> None:
    asked = made.asking(members=3, perturb=NOISE)
    whole = products(forecast(asked, tmp_path / "whole", 32))
    tiled = products(forecast(asked, tmp_path / "tiled", core, block, batch=batch))
    assert len(plan(asked, core, block).tiles) > 1
    assert set(whole) == {"rain", "rain_sd", "rain_q10", "rain_q50", "rain_q90"}
    assert np.nanmean(whole["rain_sd"]) > 0.5
    for name, values in whole.items():
        np.testing.assert_allclose(tiled[name], values, rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_threads_of_one_worker_do_not_mix_members_up(made: Made, tmp_path: Path) -> None:
    asked = made.asking(members=4, perturb=NOISE)
    serial = products(forecast(asked, tmp_path / "alone", 7))
    threads = LocalCluster(
        n_workers=1, threads_per_worker=4, processes=False, dashboard_address="127.0.0.1:0"
    )
    with threads as cluster, Client(cluster) as client:
        together = products(
            forecast(asked, tmp_path / "together", 7, executor=DaskExecutor(client))
        )
    for name, values in serial.items():
        np.testing.assert_array_equal(together[name], values)


def test_every_source_of_randomness_makes_members_differ(made: Made) -> None:
    plain = ask(made.asking(members=2, perturb={"dropout": False, "noise": 0.1}), init=INIT)
    drops = ask(made.asking(members=2), init=INIT)
    same = replace(plain, members=replace(plain.members, noise=0.0))
    for request, differ in ((plain, True), (drops, True), (same, False)):
        first, second = forecast_whole(made, request)
        assert (np.abs(first - second).max() > 1e-3) == differ


def test_a_member_does_not_depend_on_how_many_there_are(made: Made) -> None:
    many = forecast_whole(made, ask(made.asking(members=4, perturb=NOISE), init=INIT))
    few = forecast_whole(made, ask(made.asking(members=2, perturb=NOISE), init=INIT))
    np.testing.assert_array_equal(many[:2], few)


def test_another_seed_gives_other_members(made: Made) -> None:
    seeds = [
        forecast_whole(
            made, ask(made.asking(members=2, perturb=NOISE | {"seed": seed}), init=INIT)
        )
        for seed in (0, 1)
    ]
    assert np.abs(seeds[0] - seeds[1]).max() > 1e-3


def test_a_single_forecast_is_not_perturbed(made: Made) -> None:
    perturb = NOISE | {"dropout": True}
    request = ask(made.asking(members=1, perturb=perturb), init=INIT)
    plain = ask(made.asking(perturb={"dropout": False}), init=INIT)
    np.testing.assert_array_equal(forecast_whole(made, request), forecast_whole(made, plain))
    several = forecast_whole(made, ask(made.asking(members=2, perturb=perturb), init=INIT))
    assert (np.abs(several - forecast_whole(made, plain)).max(axis=(1, 2, 3)) > 1e-3).all()


def test_noise_changes_observed_frames_only_and_no_gap(made: Made) -> None:
    request = ask(made.asking(members=2, perturb=NOISE), init=INIT)
    forecaster = forecaster_of(request)
    tile = plan(made, 32).tiles[0]
    inputs = forecaster.read(tile, request, LeadBlock(0, LEADS))
    quiet = replace(request, members=replace(request.members, noise=0.0))
    gaps = ~inputs.valid
    assert gaps.any()
    batch = forecaster.collate([inputs])
    noisy, calm = (
        forecaster.rollout([tile], batch, asked, LeadBlock(0, 1)).frames
        for asked in (request, quiet)
    )
    assert np.abs(noisy - calm).max() > 1e-3
    assert (batch.inputs.target.numpy()[0, 0][gaps] == 0).all()


def test_members_that_would_be_equal_are_refused_with_what_makes_them_differ(
    made: Made,
) -> None:
    still = made.recipe.replace(model=made.recipe.model.replace(dropout=0.0))
    with pytest.raises(ValueError, match=r"they would be equal; set rollout\.perturb\.noise"):
        made._replace(recipe=still).asking(members=2)


def test_members_of_several_bundles_are_their_forecasts(made: Made, tmp_path: Path) -> None:
    recipe, cube, first = made
    training = recipe.training.replace(seed=7)
    other = train_bundle(
        build_training_spec(recipe.replace(training=training)),
        cube,
        (first.path.parent, tmp_path / "logs"),
        executor=SerialExecutor(),
    )
    quiet = {"dropout": False}
    both = ask(made.asking(members=2, bundles=[other.path.name], perturb=quiet), init=INIT)
    first_member, second_member = forecast_whole(made, both)
    of_first = forecast_whole(made, replace(both, bundles=(first.path,)))
    of_other = forecast_whole(made, replace(both, bundles=(other.path,)))
    np.testing.assert_array_equal(first_member, of_first[0])
    np.testing.assert_array_equal(second_member, of_other[0])
    assert np.abs(first_member - second_member).max() > 1e-3


def test_a_bundle_of_another_kind_is_refused_by_name(made: Made, tmp_path: Path) -> None:
    other = make_model(tmp_path, rollout={"history": 4})
    target = made.bundle.path.parent / other.bundle.path.name
    other.bundle.path.rename(target)
    with pytest.raises(ValueError, match="has another 'reading' than"):
        ask(made.asking(members=2, bundles=[open_bundle(target).path.name]), init=INIT)


def test_intervals_hold_the_forecast_and_are_the_same_in_blocks(
    made: Made, tmp_path: Path
) -> None:
    margins = Calibration(0.8, (0.1, 0.2, 0.3, 0.4), (9, 9, 9, 9), "validation", ("2005-05",))
    request = ask(made, init=INIT, calibration=margins)
    whole = products(forecast(made, tmp_path / "whole", 32, request=request))
    blocks = products(forecast(made, tmp_path / "blocks", 8, 2, request=request))
    inside = np.isfinite(whole["rain"])
    width = (whole["rain_upper"] - whole["rain_lower"])[:, inside[0]].mean(axis=1)
    assert (np.diff(width) > 0).all()
    assert (whole["rain_lower"][inside] <= whole["rain"][inside]).all()
    assert (whole["rain"][inside] <= whole["rain_upper"][inside]).all()
    for name, values in whole.items():
        np.testing.assert_allclose(blocks[name], values, rtol=1e-4, atol=1e-3)


def test_a_negative_margin_never_makes_the_ends_of_an_interval_cross() -> None:
    members = np.random.default_rng(0).normal(size=(5, 2, 3, 4)).astype(np.float32)
    tight = Calibration(0.8, (-0.5, -9.0), (99, 99), "validation", ())
    request = ForecastRequest((), Path(), parse_time(INIT), leads=2, calibration=tight)
    lower, upper = conformal_interval(members, request)
    plain = raw_interval(members, request, 0.8)
    assert (lower <= upper).all()
    assert (upper - lower < plain[1] - plain[0]).all()


def test_calibrated_intervals_hold_their_level_on_the_part_they_were_learned_on(
    made: Made,
) -> None:
    tiles = plan(made, 32).tiles
    learning = "validation"
    request = ask(made, init="2005-05")
    margins = calibrate(
        build_hindcast_spec(made.recipe, learning),
        request,
        tiles,
        executor=SerialExecutor(),
        on_progress=no_progress,
    )
    assert margins.part == learning
    scored = evaluate_part(
        build_hindcast_spec(made.recipe, learning),
        replace(request, calibration=margins),
        tiles,
        executor=SerialExecutor(),
        on_progress=no_progress,
    )
    assert scored.probabilistic is not None
    assert scored.probabilistic["coverage"].between(0.8, 0.82).all()


@pytest.mark.slow
def test_an_evaluated_ensemble_says_coverage_and_spread_and_survives_being_written(
    made: Made, tmp_path: Path
) -> None:
    asked = made.asking(members=3, perturb=NOISE)
    margins = Calibration(0.8, (0.5,) * 4, (99,) * 4, "validation", ())
    tables = [
        evaluate_part(
            build_hindcast_spec(asked.recipe, "test"),
            ask(asked, init=INIT, calibration=margins),
            plan(asked, core).tiles,
            executor=SerialExecutor(),
            on_progress=no_progress,
        )
        for core in (32, 9)
    ]
    tables[0].save(tmp_path)
    read = Evaluation.load(tmp_path, tables[0].key, "test")
    assert read is not None
    assert read.probabilistic is not None
    assert list(read.probabilistic) == [
        "lead",
        "level",
        "n",
        "coverage",
        "width",
        "crps",
        "spread",
        "spread_skill",
        *(f"{score}_q{q}" for score in ("pinball", "below") for q in (10, 50, 90)),
        "units",
    ]
    for other in (read, tables[1]):
        assert other.probabilistic is not None
        left, right = (
            t.drop(columns="units").astype(float)
            for t in (read.probabilistic, other.probabilistic)
        )
        np.testing.assert_allclose(left, right, rtol=1e-3)


def test_margins_of_another_request_are_not_used(made: Made, tmp_path: Path) -> None:
    margins = Calibration(0.8, (0.1,) * 4, (9,) * 4, "validation", ("2005-05",))
    key = ScoreKey.of(build_hindcast_spec(made.recipe, "validation"), ask(made))
    save_calibration(tmp_path, key, margins, made.cube.version)
    assert find_calibration(tmp_path, key) == margins
    assert find_calibration(tmp_path, key.with_leads(LEADS - 1)) == margins
    assert find_calibration(tmp_path, key.with_leads(LEADS + 1)) is None
    assert find_calibration(tmp_path / "nothing", key) is None
    for changes in ({"members": 2}, {"interval": 0.9}, {"precision": "bf16"}):
        other = made.asking(**changes)
        asked = ScoreKey.of(build_hindcast_spec(other.recipe, "validation"), ask(other))
        assert find_calibration(tmp_path, asked) is None


def test_what_changes_no_number_is_no_part_of_what_scores_follow_from(made: Made) -> None:
    key = ScoreKey.of(build_hindcast_spec(made.recipe, "test"), ask(made))
    # A single forecast is not perturbed, so its seed changes nothing.
    other = made.asking(tile_px=9, block_leads=2, perturb={"seed": 3})
    assert ScoreKey.of(build_hindcast_spec(other.recipe, "test"), ask(other)) == key
    seeds = [made.asking(members=2, perturb={"seed": seed}) for seed in (0, 3)]
    one, two = (
        ScoreKey.of(build_hindcast_spec(asked.recipe, "test"), ask(asked)) for asked in seeds
    )
    assert one.name != two.name
    (difference,) = key.with_leads(2).differences(key)
    assert difference == "rollout.leads=4 (here 2)"


def test_the_key_of_an_issue_changes_with_its_margins(made: Made) -> None:
    assert parse_time(INIT) == ask(made, init=INIT).init
    one = Calibration(0.8, (0.1,), (9,), "validation", ())
    assert one.digest != replace(one, margins=(0.2,)).digest
