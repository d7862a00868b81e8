from pathlib import Path

import numpy as np
import pytest
import zarr

from pipeline.executors import SerialExecutor
from pipeline.recipes import Recipe, load_recipe
from pipeline.specs import build_fit_spec
from pipeline.streams.fields import read_domain, read_field
from pipeline.streams.input_stack import ForcingSpec, InputStack, StaticSpec, VariableSpec
from pipeline.streams.loader import read_batch_directly
from pipeline.streams.samples import RolloutSpan, Sample
from pipeline.streams.source import Source
from pipeline.streams.statistics import fit_stack
from stores.times import Times
from stores.windows import Window
from tests.make import make_cube

ANOMALIES = {"transform": ["anomaly", "zscore"]}
WHOLE = Window(0, 23, 0, 31)


def fit(folder: Path, **overrides: object) -> tuple[Recipe, Source]:
    cube = make_cube(folder, **overrides)
    recipe = load_recipe(folder / "recipe.yaml")
    stack = fit_stack(build_fit_spec(recipe), cube, folder / "fields.zarr", SerialExecutor())
    return recipe, Source(cube, folder / "fields.zarr", stack)


def months(source: Source, first: int, last: int) -> Times:
    return source.open().times[first:last]


def test_the_training_part_of_the_target_has_mean_zero_and_spread_one(tmp_path: Path) -> None:
    recipe, source = fit(tmp_path, target=ANOMALIES)
    values = source.target(WHOLE, recipe.split.to_split().frames("train", recipe.step))
    assert abs(np.nanmean(values)) < 1e-3
    assert abs(np.nanstd(values) - 1) < 1e-3


def test_the_climatology_is_the_seasonal_mean_of_the_training_part(tmp_path: Path) -> None:
    _, source = fit(tmp_path, target=ANOMALIES)
    januaries = source.truth(WHOLE, source.open().times[:60:12])
    expected = np.nanmean(np.where(source.domain(WHOLE), januaries, np.nan)[:, 11, 15])
    field = read_field(source.fields, "climatology", WHOLE)
    assert np.isclose(field[0, 11, 15], expected, rtol=1e-5)


def test_the_domain_is_where_the_stated_map_exceeds_its_threshold(tmp_path: Path) -> None:
    _, source = fit(tmp_path)
    land = source.open().read("land_fraction", WHOLE)
    domain = read_domain(source.fields, WHOLE)
    assert domain.any()
    assert not domain.all()
    assert (land[domain] > 0.5).all()


def test_restoring_undoes_normalizing(tmp_path: Path) -> None:
    _, source = fit(tmp_path, target=ANOMALIES)
    window, times = Window(3, 17, 5, 29), months(source, 7, 31)
    back = source.inverse_transform(source.target(window, times), window, times)
    np.testing.assert_allclose(back, source.truth(window, times), rtol=1e-4, atol=1e-2)


def test_channels_of_a_window_are_the_window_of_the_channels(tmp_path: Path) -> None:
    _, source = fit(tmp_path)
    window, times = Window(2, 19, 4, 23), months(source, 10, 14)
    np.testing.assert_array_equal(
        source.statics(window), source.statics(WHOLE)[:, *window.slices]
    )
    np.testing.assert_array_equal(
        source.forcings(window, times, times[0]),
        source.forcings(WHOLE, times, times[0])[..., *window.slices],
    )


def test_the_season_returns_after_a_year_and_place_does_not_change(tmp_path: Path) -> None:
    _, source = fit(tmp_path)
    times = months(source, 0, 13)
    season = source.forcings(WHOLE, times, times[0])
    np.testing.assert_allclose(season[0], season[12], atol=1e-6)
    assert np.abs(season[0] - season[6]).max() > 1
    assert source.stack.names == (
        "rain",
        "valid",
        "season_sin",
        "season_cos",
        "elevation",
        "place_y",
        "place_x",
    )


@pytest.mark.parametrize("future", ["persist", "climatology"])
def test_a_forcing_knows_nothing_after_its_delay(tmp_path: Path, future: str) -> None:
    _, source = fit(tmp_path, target=ANOMALIES)
    chain = source.stack.target.chain
    forcing = ForcingSpec("step", VariableSpec("rain", chain), future=future, delay=2)
    source = Source(source.cube, source.fields, InputStack(source.stack.target, (forcing,), ()))
    times = months(source, 20, 32)
    read = source.forcings(WHOLE, times, times[5])[:, 0]
    observed = np.nan_to_num(source.target(WHOLE, times))
    np.testing.assert_array_equal(read[:4], observed[:4])
    expected = observed[3] if future == "persist" else np.zeros_like(observed[3])
    for later in read[4:]:
        np.testing.assert_array_equal(later, expected)


def test_a_stack_survives_being_written(tmp_path: Path) -> None:
    chain = ({"kind": "zscore", "offset": 1.0, "scale": 2.0},)
    stack = InputStack(
        VariableSpec("rain", chain),
        (
            ForcingSpec("season"),
            ForcingSpec("annual", VariableSpec("trees", chain), "persist", 1),
        ),
        (StaticSpec(), StaticSpec(VariableSpec("elevation", chain))),
    )
    assert InputStack.from_json(stack.to_json()) == stack


def test_a_domain_without_valid_training_pixels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no pixel of 'rain' is valid in the training part"):
        fit(tmp_path, domain={"variable": "land_fraction", "above": 2.0})


def test_statistics_do_not_depend_on_how_the_grid_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = fit(tmp_path / "whole", target=ANOMALIES)
    monkeypatch.setattr("pipeline.streams.fields._SIDE", 7)
    _, cut = fit(tmp_path / "cut", target=ANOMALIES)
    assert whole.stack.target.chain[1]["scale"] != 1.0
    for one, other in zip(whole.stack.target.chain, cut.stack.target.chain, strict=True):
        for key in ("offset", "scale"):
            found, expected = one.get(key, 0.0), other.get(key, 0.0)
            assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)
    np.testing.assert_array_equal(
        read_field(whole.fields, "climatology_rain", WHOLE),
        read_field(cut.fields, "climatology_rain", WHOLE),
    )


def test_a_missing_pixel_is_told_from_one_of_the_mean(tmp_path: Path) -> None:
    _, source = fit(tmp_path)
    window, init = Window(8, 14, 10, 16), months(source, 17, 18)[0]
    zero = np.zeros((1, 6, 6), np.float32)
    array = zarr.open_array(source.cube / "rain", mode="r+")
    array[17, 9, 11] = source.inverse_transform(zero, window, np.array([init]))[0, 1, 1]
    array[17, 9, 12] = np.nan
    batch = read_batch_directly(source, RolloutSpan(3, 2), [Sample(init, window)])
    assert np.abs(batch.target[0, 2, 1, 1:3]).max() < 1e-5  # the network reads 0 of both
    assert batch.valid[0, 2, 1, 1:3].tolist() == [True, False]
