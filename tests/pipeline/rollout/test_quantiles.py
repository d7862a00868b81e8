"""Networks of quantiles from training to forecast, interval and score."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.executors import SerialExecutor
from pipeline.metrics.calibration import Calibration
from pipeline.rollout.calibrate import calibrate
from pipeline.rollout.evaluate import Evaluation, evaluate_part
from pipeline.rollout.forecaster import forecaster_of
from pipeline.rollout.permutation_importance import ImportanceSpec, measure_importance
from pipeline.rollout.products import (
    conformal_interval,
    count_products,
    list_products,
    suffix_of,
)
from pipeline.rollout.request import EnsembleSpec, ForecastRequest
from pipeline.specs import build_hindcast_spec
from stores.array_types import Float32Array
from stores.forecast import Forecast
from stores.progress import no_progress
from stores.times import parse_time
from tests.make_rollout import INIT, LEADS, Made, ask, forecast, frames, make_model, plan

LEVELS = [0.1, 0.5, 0.975]
TRAINING = {"epochs": 3, "lr": 0.02, "loss": {"kind": "quantile", "quantiles": LEVELS}}
NAMES = ["rain_q10", "rain", "rain_q97p5"]
QUIET: dict[str, Any] = {"executor": SerialExecutor(), "on_progress": no_progress}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A model of three quantiles with dropout, which a forecast must not feel."""
    folder = tmp_path_factory.mktemp("made")
    return make_model(folder, training=TRAINING, model={"dropout": 0.3})


def products(rolled: Forecast) -> dict[str, Float32Array]:
    return {name: frames(rolled, name) for name in rolled.variables}


def assert_rising(found: dict[str, Float32Array]) -> None:
    inside = np.isfinite(found["rain"])
    steps = np.diff([found[name][inside] for name in NAMES], axis=0)
    assert (steps >= 0).all()
    assert (steps > 0).mean() > 0.9  # rain is cut off at zero


@pytest.mark.parametrize(
    ("memory", "core", "block", "batch"),
    [("window", 9, 2, 3), pytest.param("carried", 16, 1, 1, marks=pytest.mark.slow)],
)
def test_quantiles_in_tiles_and_blocks_equal_those_of_the_whole_grid(
    made: Made, tmp_path: Path, memory: str, core: int, block: int, batch: int
) -> None:
    if memory == "carried":
        made = make_model(tmp_path, training=TRAINING, model={"memory": memory})
    whole = products(forecast(made, tmp_path / "whole", 32))
    tiled = products(forecast(made, tmp_path / "tiled", core, block, batch=batch))
    assert sorted(whole) == sorted(NAMES)
    assert len(plan(made, core, block).tiles) > 1
    assert_rising(whole)
    for name, values in whole.items():
        np.testing.assert_allclose(tiled[name], values, rtol=1e-4, atol=1e-3)


def test_the_median_is_what_is_fed_back(made: Made) -> None:
    request = ask(made, init=INIT)
    tile = plan(made, 32).tiles[0]
    forecaster = forecaster_of(request)
    fields = forecaster.forecast_owned(tile, request)
    assert fields.shape == (3, LEADS, *tile.owns.shape)
    later = ask(made, init="2006-07")
    inputs = forecaster.read(tile, later, plan(made, 32).blocks[0])
    assert not np.allclose(inputs.target[0, -1], fields[1, 0])  # not trivial
    domain = forecaster.source.domain(tile.owns)
    fed = inputs._replace(target=inputs.target.copy(), valid=inputs.valid.copy())
    fed.target[0, -1] = np.where(domain, fields[1, 0], 0)
    fed.valid[-1] = domain
    again = forecaster.rollout(
        [tile], forecaster.collate([fed]), later, plan(made, 32, 3).blocks[0]
    )
    np.testing.assert_allclose(again.frames[0][:, :3], fields[:, 1:], rtol=1e-4, atol=1e-4)


def test_published_quantiles_say_what_they_are_and_what_they_lack(made: Made) -> None:
    listed = list_products(ask(made, init=INIT))
    assert [product.suffix for product in listed] == ["", "_q10", "_q97p5"]
    assert [product.prefix for product in listed] == [
        "median of ",
        "10% quantile of ",
        "97.5% quantile of ",
    ]
    assert [product.attributes["quantile"] for product in listed] == [0.5, 0.1, 0.975]
    assert all("given the medians" in product.attributes["comment"] for product in listed)


@pytest.mark.parametrize("margins", [None, Calibration(0.8, (0.2,), (9,), "validation", ())])
@pytest.mark.parametrize(("members", "quantiles"), [(1, ()), (3, ()), (1, (0.1, 0.5))])
def test_what_is_published_is_counted_before_there_is_a_model(
    members: int, quantiles: tuple[float, ...], margins: Calibration | None
) -> None:
    request = ForecastRequest(
        *((), Path(), parse_time(INIT), 1),
        members=EnsembleSpec(members),
        quantiles=quantiles,
        calibration=margins,
    )
    counted = count_products(members, quantiles, has_interval=margins is not None)
    assert counted == len(list_products(request))


@pytest.mark.parametrize(
    ("level", "suffix"), [(0.1, "_q10"), (0.05, "_q05"), (0.025, "_q02p5"), (0.999, "_q99p9")]
)
def test_every_quantile_has_a_name_of_its_own(level: float, suffix: str) -> None:
    assert suffix_of(level) == suffix


def test_an_interval_is_that_of_the_outer_quantiles_and_holds_the_median() -> None:
    fields = np.sort(np.random.default_rng(0).normal(size=(3, 2, 4, 5)), axis=0)
    margins = Calibration(0.8, (0.25, -9.0), (99, 99), "validation", ())
    request = ForecastRequest(
        (), Path(), parse_time(INIT), 2, quantiles=(0.1, 0.5, 0.975), calibration=margins
    )
    lower, upper = conformal_interval(fields.astype(np.float32), request)
    np.testing.assert_allclose(lower[0], fields[0, 0] - 0.25, rtol=1e-6)
    np.testing.assert_allclose(upper[0], fields[2, 0] + 0.25, rtol=1e-6)
    np.testing.assert_allclose(lower[1], fields[1, 1], rtol=1e-6)
    np.testing.assert_allclose(upper[1], fields[1, 1], rtol=1e-6)


def test_an_interval_says_that_a_margin_below_zero_narrows_it(made: Made) -> None:
    margins = Calibration(0.8, (0.25, -0.5, 0.1, 0.1), (99,) * 4, "validation", ("2005-04",))
    *_, lower, upper = list_products(ask(made, init=INIT, calibration=margins))
    for product in (lower, upper):
        assert product.attributes["margins"] == [0.25, -0.5, 0.1, 0.1]
        assert "below 0, where forecasts spanned too much, they move inward" in str(
            product.attributes["comment"]
        )
        assert "1 forecasts" not in product.attributes["method"]


def test_intervals_of_quantiles_hold_their_level_and_quantiles_are_scored(
    made: Made, tmp_path: Path
) -> None:
    tiles = plan(made, 32).tiles
    part = "validation"
    request = ask(made, init="2005-05")
    margins = calibrate(build_hindcast_spec(made.recipe, part), request, tiles, **QUIET)
    scored = [
        evaluate_part(
            build_hindcast_spec(made.recipe, part),
            replace(request, calibration=margins),
            cut,
            **QUIET,
        )
        for cut in (tiles, plan(made, 9).tiles)
    ]
    scored[0].save(tmp_path)
    read = Evaluation.load(tmp_path, scored[0].key, part)
    assert read is not None
    assert read.probabilistic is not None
    assert read.probabilistic["coverage"].between(0.8, 0.82).all()
    below = read.probabilistic[["below_q10", "below_q50", "below_q97p5"]].to_numpy()
    assert (np.diff(below, axis=1) > 0).all()
    assert (read.probabilistic[["pinball_q10", "pinball_q50"]] > 0).all(axis=None)
    other = scored[1].probabilistic
    assert other is not None
    left, right = (t.drop(columns="units").astype(float) for t in (read.probabilistic, other))
    np.testing.assert_allclose(left, right, rtol=1e-3)
    # Twice the loss of the median is the mean absolute error of the forecast.
    mae = scored[0].table.query("method == 'model' and lead != 'all'")["mae"].to_numpy()
    np.testing.assert_allclose(2 * read.probabilistic["pinball_q50"], mae, rtol=1e-5)


def test_blended_quantiles_never_cross(made: Made, tmp_path: Path) -> None:
    blends = {"mode": "blend", "tile_px": 8, "taper_px": 4}
    asked = made.asking(**blends)
    blended = products(forecast(asked, tmp_path / "blended", 8))
    whole = products(forecast(made, tmp_path / "whole", 32))
    assert_rising(blended)
    assert np.nanmax(np.abs(blended["rain_q10"] - whole["rain_q10"])) > 1e-3


def test_the_importance_of_covariates_is_that_for_the_median(made: Made) -> None:
    tiles = plan(made, 32).tiles
    request = ask(made, init="2005-05")
    trial = ImportanceSpec("validation", repeats=2)
    found = measure_importance(
        build_hindcast_spec(made.recipe, trial.part), request, tiles, trial, **QUIET
    ).table
    scored = evaluate_part(
        build_hindcast_spec(made.recipe, "validation"), request, tiles, **QUIET
    ).table
    unpermuted = found.query("lead == 'all'")["rmse"].iloc[0]
    expected = scored.query("method == 'model' and lead == 'all'")["rmse"].iloc[0]
    assert unpermuted == pytest.approx(expected, rel=1e-5)


def test_members_of_a_bundle_of_quantiles_are_refused_with_the_way_out(made: Made) -> None:
    plain = made.recipe.training.replace(loss={"kind": "mse"})
    recipe = made.recipe.replace(training=plain)
    with pytest.raises(ValueError, match=r"quantiles, and each of rollout\.members=2"):
        ask(made._replace(recipe=recipe).asking(members=2), init=INIT)


def test_a_training_that_scores_an_ensemble_forecasts_one(tmp_path: Path) -> None:
    loss = [{"kind": "crps", "members": 3}, {"kind": "mse", "weight": 0.1}]
    training = {"epochs": 2, "lr": 0.02, "loss": loss, "noise": 0.2, "precision": "bf16"}
    model = make_model(tmp_path, training=training, model={"dropout": 0.3})
    asked = model.asking(members=3, perturb={"noise": 0.2})
    found = evaluate_part(
        build_hindcast_spec(asked.recipe, "test"),
        ask(asked, init=INIT),
        plan(asked, 32).tiles,
        **QUIET,
    )
    assert found.probabilistic is not None
    assert (found.probabilistic["crps"] > 0).all()
    assert (found.probabilistic["spread"] > 0.1).all()
