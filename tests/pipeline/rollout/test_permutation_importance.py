import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.executors import SerialExecutor
from pipeline.metrics.importance import HISTORY, uninformative
from pipeline.rollout.evaluate import evaluate_part
from pipeline.rollout.forecaster import TileInputs, forecaster_of
from pipeline.rollout.hindcast import MODEL
from pipeline.rollout.permutation import (
    Permutation,
    list_covariates,
    plan_permutations,
    read_permuted,
    read_shifted,
    read_shifted_statics,
    replace_channels,
)
from pipeline.rollout.permutation_importance import (
    ImportanceResult,
    ImportanceSpec,
    measure_importance,
)
from pipeline.rollout.rollout_plan import LeadBlock
from pipeline.specs import build_hindcast_spec
from pipeline.streams.fields import FIELDS
from stores.array_types import AnyArray, Float32Array
from stores.bundle import Bundle, publish_bundle, stage_bundle
from stores.progress import no_progress
from stores.times import parse_time
from stores.windows import Window
from tests.make import SHAPE
from tests.make_rollout import LEADS, Made, ask, make_model, plan

INITS = [parse_time(f"2005-{month:02d}") for month in (4, 5, 6, 7, 8)]
NAMES = [HISTORY, "season", "elevation", "lonlat"]
TWICE = ImportanceSpec("validation", repeats=2)
COLUMNS = ["rmse", "importance", "importance_sd", "rmse_rise", "rmse_rise_sd"]
CHANGED = {
    HISTORY: {"target"},
    "season": {"forcing 0", "forcing 1"},
    "elevation": {"static 0"},
    "lonlat": {"static 1", "static 2"},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A model that learned long enough to look at its history."""
    return make_model(tmp_path_factory.mktemp("made"), training={"epochs": 8, "lr": 0.02})


@pytest.fixture(scope="module")
def measured(made: Made) -> ImportanceResult:
    return measure(made)


def measure(made: Made, *, core: int = 32, trial: ImportanceSpec = TWICE) -> ImportanceResult:
    return measure_importance(
        build_hindcast_spec(made.recipe, trial.part),
        ask(made, init="2005-05"),
        plan(made, core).tiles,
        trial,
        executor=SerialExecutor(),
        on_progress=no_progress,
    )


def pooled(found: ImportanceResult) -> pd.DataFrame:
    return found.table[found.table["lead"] == "all"].set_index("covariate").loc[NAMES]


def numbers(found: ImportanceResult) -> Float32Array:
    """Return all numbers (row, column) in one order: close importances may swap."""
    rows = found.table.assign(lead=found.table["lead"].astype(str))
    return rows.sort_values(["covariate", "lead"])[COLUMNS].to_numpy(dtype=np.float32)


def flat(inputs: TileInputs) -> dict[str, AnyArray]:
    channels: dict[str, AnyArray] = {
        "target": inputs.target,
        "valid": inputs.valid,
        "domain": inputs.domain,
    }
    channels |= {f"forcing {n}": inputs.forcings[:, n] for n in range(2)}
    return channels | {f"static {n}": inputs.statics[n] for n in range(3)}


def republish(bundle: Bundle, weights: dict[str, Float32Array]) -> Bundle:
    """Publish a model anew with other weights."""
    models = bundle.path.parent
    with stage_bundle(models, "blind") as folder:
        shutil.copytree(bundle.path / FIELDS, folder / FIELDS)
        return publish_bundle(folder, models, "blind", weights, bundle.description)


def test_a_channel_that_the_network_ignores_has_no_importance_at_all(made: Made) -> None:
    weights = made.bundle.load_weights()
    elevation = -3  # before the two channels of lonlat
    assert weights["cells.0.inputs.weight"][:, elevation].any()
    weights["cells.0.inputs.weight"][:, elevation] = 0
    found = measure(made._replace(bundle=republish(made.bundle, weights)))
    ignored = found.table[found.table["covariate"] == "elevation"]
    assert len(ignored) == LEADS + 1
    assert (ignored[COLUMNS[1:]] == 0).all(axis=None)
    assert (pooled(found).drop("elevation")["importance"] != 0).all()
    assert "elevation" in uninformative(found.table)
    assert "elevation" in found.verdict


def test_the_history_matters_to_a_model_that_learned_from_it(
    measured: ImportanceResult,
) -> None:
    history = pooled(measured).loc[HISTORY]
    assert history["importance"] > history["importance_sd"] > 0
    assert history["rmse_rise"] > 0
    assert HISTORY not in uninformative(measured.table)
    assert measured.inits == [f"2005-{month:02d}" for month in (4, 5, 6, 7, 8)]


@pytest.mark.slow
def test_importances_are_the_same_in_tiles(made: Made, measured: ImportanceResult) -> None:
    tiled = measure(made, core=9)
    assert len(plan(made, 9).tiles) == 12
    assert np.abs(numbers(measured)[:, 1]).max() > 0.01
    np.testing.assert_allclose(numbers(tiled), numbers(measured), rtol=1e-3, atol=1e-4)


def test_another_seed_permutes_otherwise(made: Made, measured: ImportanceResult) -> None:
    other = measure(made, trial=replace(TWICE, seed=1))
    assert (pooled(other)["importance"] != pooled(measured)["importance"]).all()
    assert (pooled(other)["rmse"] == pooled(measured)["rmse"]).all()


BLENDED = {"mode": "blend", "taper_px": 3, "tile_px": 16}


@pytest.mark.parametrize("rollout", [{}, pytest.param(BLENDED, marks=pytest.mark.slow)])
def test_errors_without_a_permutation_are_those_of_the_hindcasts(
    made: Made, rollout: dict[str, int | str]
) -> None:
    asked = made.asking(**rollout)
    tiles = plan(asked, 16).tiles
    request = ask(asked, init="2005-05")
    scored = evaluate_part(
        build_hindcast_spec(asked.recipe, "validation"),
        request,
        tiles,
        executor=SerialExecutor(),
        on_progress=no_progress,
    ).table
    found = measure_importance(
        build_hindcast_spec(asked.recipe, TWICE.part),
        request,
        tiles,
        TWICE,
        executor=SerialExecutor(),
        on_progress=no_progress,
    )
    assert len(tiles) > 1
    hindcast_rmse = scored[scored["method"] == MODEL]["rmse"].to_numpy()
    for _, rows in found.table.groupby("covariate"):
        np.testing.assert_allclose(rows["rmse"], hindcast_rmse, rtol=1e-12)
    assert (pooled(found)["importance"] != 0).all()


def test_members_beyond_the_first_change_nothing(
    made: Made, measured: ImportanceResult
) -> None:
    asked = made.asking(members=3, perturb={"dropout": False, "noise": 1e-9})
    np.testing.assert_allclose(numbers(measure(asked)), numbers(measured), atol=1e-5)


def test_a_part_with_one_forecast_is_refused(made: Made) -> None:
    split = made.recipe.split.replace(validation=["2005-02", "2005-08"])
    short = made._replace(recipe=made.recipe.replace(split=split))
    with pytest.raises(ValueError, match=r"too few forecasts \(inits: 2005-04-01\).*longer"):
        measure(short)


def test_too_few_forecasts_to_tell_noise_are_reported(
    made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    split = made.recipe.split.replace(validation=["2005-02", "2005-09"])
    short = made._replace(recipe=made.recipe.replace(split=split))
    found = measure(short)
    assert found.inits == ["2005-04", "2005-05"]
    assert (pooled(found).loc[[HISTORY, "season"], "importance_sd"] == 0).all()
    assert "2 forecasts can be permuted in 1 way(s), fewer than the 2 repeats" in caplog.text


def test_one_repeat_is_refused(made: Made) -> None:
    with pytest.raises(ValueError, match="repeats=1 has no spread"):
        measure(made, trial=replace(TWICE, repeats=1))


@given(n=st.integers(2, 13), repeats=st.integers(2, 4), seed=st.integers(0, 99))
def test_each_init_is_a_source_once_a_repeat_and_never_of_itself(
    n: int, repeats: int, seed: int
) -> None:
    inits = [np.datetime64("2001-01-01", "s") + np.timedelta64(day, "D") for day in range(n)]
    drawn = plan_permutations(inits, SHAPE, repeats=repeats, seed=seed)
    assert drawn == plan_permutations(inits, SHAPE, repeats=repeats, seed=seed)
    for repeat in range(repeats):
        sources = {init: of_init[repeat].source_init for init, of_init in drawn.items()}
        assert sorted(sources.values()) == inits
        assert all(init != source for init, source in sources.items())
    permutations = [permutation for of_init in drawn.values() for permutation in of_init]
    offsets = {offset for permutation in permutations for offset in permutation.offsets}
    assert (0, 0) not in offsets
    assert all(0 <= dy < SHAPE[0] and 0 <= dx < SHAPE[1] for dy, dx in offsets)


@given(
    dy=st.integers(0, 22), dx=st.integers(0, 30), y0=st.integers(0, 11), size=st.integers(1, 12)
)
def test_a_shifted_window_is_that_of_the_rolled_grid(
    dy: int, dx: int, y0: int, size: int
) -> None:
    grid = np.arange(2 * SHAPE[0] * SHAPE[1]).reshape(2, *SHAPE)
    window = Window(y0, y0 + size, 19, 31)
    shifted = read_shifted(lambda w: grid[:, *w.slices], window, (dy, dx), SHAPE)
    rolled = np.roll(grid, (-dy, -dx), axis=(1, 2))
    np.testing.assert_array_equal(shifted, rolled[:, *window.slices])


def test_shifted_statics_stay_on_their_side_of_the_coast_in_every_window(
    made: Made,
) -> None:
    source = forecaster_of(ask(made)).source
    whole = Window.from_shape(SHAPE)
    (permutation, *_) = plan_permutations(INITS, SHAPE, repeats=2, seed=0)[INITS[0]]
    shifted = read_shifted_statics(source, whole, permutation.offsets)
    domain = source.domain(whole)
    statics = source.statics(whole)
    for window in (Window(3, 20, 0, 11), Window(0, 23, 17, 31)):
        of_window = read_shifted_statics(source, window, permutation.offsets)
        np.testing.assert_array_equal(of_window, shifted[:, *window.slices])
    lonlat = statics[1:].reshape(2, -1)  # every pixel has its own pair
    distance = np.abs(shifted[1:].reshape(2, -1, 1) - lonlat[:, None]).sum(axis=0)
    nearest = distance.argmin(axis=1)
    source_domain = domain.ravel()[nearest].reshape(SHAPE)
    assert (source_domain == domain).mean() > 0.98
    np.testing.assert_array_equal(shifted[0], statics[0].ravel()[nearest].reshape(SHAPE))
    assert (nearest != np.arange(nearest.size)).all()


def test_only_the_covariate_itself_is_permuted(made: Made) -> None:
    request = ask(made, init="2005-04")
    tile = plan(made, 32).tiles[0]
    forecaster = forecaster_of(request)
    block = LeadBlock(0, LEADS)
    original = forecaster.read(tile, request, block)
    permuted = read_permuted(forecaster, tile, request, Permutation(INITS[3], ((5, 7),)))
    of_source = forecaster.read(tile, replace(request, init=INITS[3]), block)
    np.testing.assert_array_equal(permuted.forcings, of_source.forcings)
    np.testing.assert_array_equal(permuted.target, of_source.target)
    before = flat(original)
    for covariate in list_covariates(forecaster.source.stack):
        after = flat(replace_channels(original, permuted, covariate))
        changed = {name for name, values in after.items() if (values != before[name]).any()}
        assert changed == CHANGED[covariate.name]
    assert [c.name for c in list_covariates(forecaster.source.stack)] == NAMES


def test_what_was_measured_is_kept_with_how(measured: ImportanceResult, tmp_path: Path) -> None:
    path = measured.save(tmp_path)
    read = pd.read_csv(path)
    assert path.name == "importance.csv"
    assert list(read["covariate"].unique()) == list(measured.table["covariate"].unique())
    np.testing.assert_allclose(read["importance"], measured.table["importance"])
    assert '"seed": 0' in path.with_suffix(".json").read_text()
