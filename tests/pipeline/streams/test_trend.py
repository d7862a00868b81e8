"""A straight trend: found beside a season, from the training part alone, put back beyond it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from pipeline.executors import SerialExecutor
from pipeline.recipes import Recipe, RecipeError, load_recipe
from pipeline.specs import build_fit_spec
from pipeline.streams.fields import CLIMATOLOGY, read_field_uncached
from pipeline.streams.source import Source
from pipeline.streams.statistics import fit_stack
from pipeline.streams.trend import TrendSums, years_since
from pipeline.streams.trend_fit import PixelSums
from stores.array_types import Float32Array, Float64Array
from stores.cube import Cube
from stores.times import parse_time
from stores.windows import Window
from tests.make import make_cube

RISE = 7.3  # a year
TARGET = {"transform": ["trend", "anomaly", "zscore"], "harmonics": None}
TRAIN = ["2000-03", "2003-11"]  # neither begins nor ends with a year
WHOLE = Window(0, 23, 0, 31)


def rising_cube(folder: Path, *, after: float = 0.0) -> tuple[Recipe, Path]:
    """Make a cube of season plus a rise; ``after`` is added to what is no training frame."""
    cube_path = make_cube(folder, target=TARGET)
    recipe = load_recipe(folder / "recipe.yaml", overrides=[f"split.train={TRAIN}"])
    cube, array = Cube.open(cube_path), zarr.open_array(cube_path / "rain", mode="r+")
    values = np.asarray(array[...])
    rise = RISE * years_since(parse_time("2000-01"), cube.times)
    season = 40 * np.sin(2 * np.pi * np.arange(len(cube.times)) / 12)
    made = np.where(np.isfinite(values), (300 + rise + season)[:, None, None], np.nan)
    made[np.isfinite(made) & (np.indices(made.shape).sum(axis=0) % 11 == 0)] = np.nan
    made[~np.isin(cube.times, recipe.split.to_split().frames("train", recipe.step))] += after
    array[...] = made.astype(np.float32)
    return recipe, cube_path


def fit(folder: Path, **how: Any) -> Source:
    recipe, cube = rising_cube(folder, **how)
    fields = folder / "fields.zarr"
    return Source(
        cube, fields, fit_stack(build_fit_spec(recipe), cube, fields, SerialExecutor())
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return fit(tmp_path_factory.mktemp("rising"))


def test_a_rise_is_told_from_the_season_of_a_part_of_uneven_months(source: Source) -> None:
    trend = source.stack.target.chain[0]
    assert trend["kind"] == "trend"
    assert trend["slope"] == pytest.approx(RISE, rel=1e-3)


def test_the_level_is_kept_years_beyond_the_training_part(source: Source) -> None:
    times = source.open().times
    ahead = times[times > parse_time("2006-12")]
    assert len(ahead) == 12
    normalized = np.zeros((12, *WHOLE.shape), dtype=np.float32)  # trend and season alone
    truth = source.truth(WHOLE, ahead)
    found = np.where(
        np.isfinite(truth), source.inverse_transform(normalized, WHOLE, ahead), np.nan
    )
    assert np.nanmax(np.abs(found - truth)) < 0.5
    assert np.nanmean(truth) > 300 + 6 * RISE  # it did rise


def test_the_baseline_climatology_rises_too(source: Source) -> None:
    times = source.open().times[-12:]
    usual, truth = source.climatology(WHOLE, times), source.truth(WHOLE, times)
    assert np.nanmax(np.abs(usual - truth)) < 0.5


def test_what_comes_after_the_training_part_leaves_the_trend_alone(
    source: Source, tmp_path: Path
) -> None:
    poisoned = fit(tmp_path, after=1000.0)
    assert poisoned.stack == source.stack
    for name in (CLIMATOLOGY, "climatology_rain"):
        clean, dirty = (read_field_uncached(s.fields, name, WHOLE) for s in (source, poisoned))
        np.testing.assert_array_equal(clean, dirty)


def test_sums_of_blocks_give_the_slope_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(7, 5, 6)).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = np.nan
    years, area = np.arange(7.0), np.ones((5, 6), dtype=bool)

    def sums(rows: slice) -> TrendSums:
        pixels = PixelSums(area[rows])
        for few in (slice(0, 3), slice(3, 7)):
            pixels.add(values[few, rows], years[few])
        return pixels.centered()

    whole = sums(slice(None))
    merged = sum(map(sums, (slice(0, 2), slice(2, 4), slice(4, 5))), start=TrendSums())
    assert merged.slope == pytest.approx(whole.slope, rel=1e-12)
    assert whole.slope == pytest.approx(direct_slope(values, years), rel=1e-6)


def direct_slope(values: Float32Array, years: Float64Array) -> float:
    """Regress on the dates with a level for every pixel, by ordinary least squares."""
    flat = values.reshape(7, -1).astype(np.float64)
    frame, pixel = np.nonzero(np.isfinite(flat))
    design = np.zeros((len(frame), 1 + flat.shape[1]))
    design[:, 0] = years[frame]
    design[np.arange(len(frame)), 1 + pixel] = 1
    return float(np.linalg.lstsq(design, flat[frame, pixel], rcond=None)[0][0])


def test_a_trend_of_less_than_two_years_is_refused(tmp_path: Path) -> None:
    cube = make_cube(tmp_path, target=TARGET)
    short = load_recipe(
        tmp_path / "recipe.yaml", overrides=['split.train=["2000-01", "2000-12"]']
    )
    with pytest.raises(ValueError, match="less than two years of training"):
        fit_stack(build_fit_spec(short), cube, tmp_path / "fields.zarr", SerialExecutor())


def test_a_trend_behind_another_transform_is_refused(tmp_path: Path) -> None:
    make_cube(tmp_path)
    for key in ("target.transform=[zscore, trend]", "target.transform=[sqrt, trend]"):
        with pytest.raises(RecipeError, match="put 'trend' first"):
            load_recipe(tmp_path / "recipe.yaml", overrides=[key])
