import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from pipeline.executors import SerialExecutor
from pipeline.recipes import Recipe, load_recipe
from pipeline.specs import build_fit_spec, build_training_spec
from pipeline.split import PARTS
from pipeline.streams.build_patch_plan import build_patch_plan
from pipeline.streams.fields import read_field
from pipeline.streams.samples import RolloutSpan
from pipeline.streams.source import Source
from pipeline.streams.spatial_split import read_area_table, read_part_numbers
from pipeline.streams.statistics import fit_stack
from pipeline.training.training_plan import TrainingPlan, plan_training
from stores.array_types import BoolArray
from stores.windows import Window
from tests.make import make_basins, make_cube

WHOLE = Window(0, 23, 0, 31)
SAME = ["2000-01", "2005-12"]
BLOCKS = {"block_px": 7, "correlation_px": 2, "shares": [0.5, 0.25, 0.25]}
BASINS = {"groups": "basins", "correlation_px": 1, "shares": [0.5, 0.25, 0.25]}
VARIABLES = {"basins": {"files": "basins.tif", "units": "1", "kind": "classes"}}

Area = BoolArray


class Fitted(NamedTuple):
    recipe: Recipe
    source: Source

    def area(self, part: str) -> Area:
        return self.source.part_area(part, WHOLE)


def fit(
    folder: Path, place: dict[str, object] | None, *changes: str, patch_px: int = 4
) -> Fitted:
    cube = make_cube(
        folder,
        archive={"variables": VARIABLES},
        target={"transform": ["sqrt", "anomaly", "zscore"]},
    )
    split: dict[str, object] = {"train": SAME, "validation": SAME, "place": place}
    if place is None:
        split = {"train": ["2000-01", "2004-12"]}
    written = [f"split.{key}={json.dumps(value)}" for key, value in split.items()]
    written.append(f"training.patch_px={patch_px}")
    recipe = load_recipe(folder / "recipe.yaml", overrides=[*written, *changes])
    stack = fit_stack(build_fit_spec(recipe), cube, folder / "fields.zarr", SerialExecutor())
    return Fitted(recipe, Source(cube, folder / "fields.zarr", stack))


@pytest.fixture(scope="module", params=[BLOCKS, BASINS], ids=["blocks", "groups"])
def fitted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return fit(tmp_path_factory.mktemp("fitted"), request.param)


def test_parts_share_no_pixel_and_stand_farther_apart_than_the_target_is_correlated(
    fitted: Fitted,
) -> None:
    place = fitted.recipe.split.place
    assert place is not None
    spots = [np.argwhere(fitted.area(part)) for part in PARTS]
    assert all(len(found) > 20 for found in spots)
    for number, one in enumerate(spots):
        for other in spots[number + 1 :]:
            apart = np.abs(one[:, None] - other[None]).max(axis=-1)
            assert apart.min() > place.correlation_px


def test_the_table_counts_what_each_part_got(fitted: Fitted) -> None:
    table, domain = read_area_table(fitted.source.fields), fitted.source.domain(WHOLE)
    assert table is not None
    rows = table.set_index("part")
    for part in PARTS:
        n_pixels = int((fitted.area(part) & domain).sum())
        assert rows["pixels"][part] == n_pixels == fitted.source.scored_area(part, WHOLE).sum()
        assert rows["groups"][part] >= 1
    assert rows["pixels"].sum() == domain.sum()
    assert rows["share"].sum() == pytest.approx(1)
    numbers, counts = np.unique(
        read_part_numbers(fitted.source.fields, WHOLE), return_counts=True
    )
    assert numbers.tolist() == [-1, 0, 1, 2, 3]
    assert counts[1:].tolist() == list(rows["pixels"])


def test_the_domain_is_that_of_the_whole_grid(fitted: Fitted, tmp_path: Path) -> None:
    by_dates = fit(tmp_path, None).source
    assert read_area_table(by_dates.fields) is None
    np.testing.assert_array_equal(fitted.source.domain(WHOLE), by_dates.domain(WHOLE))


def test_statistics_are_those_of_the_training_area(fitted: Fitted) -> None:
    recipe, source = fitted
    inside, times = fitted.area("train"), recipe.split.to_split().frames("train", recipe.step)
    values = source.target(WHOLE, times)
    assert abs(np.nanmean(values[:, inside], dtype=float)) < 1e-4
    assert abs(np.nanstd(values[:, inside], dtype=float) - 1) < 1e-4
    assert abs(np.nanmean(values[:, ~inside], dtype=float)) > 0.01
    elevation = source.statics(WHOLE)[0]
    assert abs(elevation[inside].mean(dtype=float)) < 1e-4
    assert abs(elevation[~inside].mean(dtype=float)) > 0.01


@pytest.mark.parametrize("name", ["climatology", "climatology_rain"])
def test_outside_of_the_training_area_a_climatology_is_the_mean_over_it(
    fitted: Fitted, name: str
) -> None:
    recipe, source = fitted
    inside, times = fitted.area("train"), recipe.split.to_split().frames("train", recipe.step)
    field = read_field(source.fields, name, WHOLE)
    rain = source.truth(WHOLE, times[6::12])
    julys = np.sqrt(rain) if name.endswith("rain") else rain
    own = np.full(WHOLE.shape, np.nan)
    seen = np.isfinite(julys).any(axis=0)
    own[seen] = np.nanmean(julys[:, seen], axis=0, dtype=float)
    np.testing.assert_allclose(field[6][inside], own[inside], rtol=1e-5)
    np.testing.assert_allclose(field[6][~inside], np.nanmean(own[inside]), rtol=1e-5)
    assert np.nanstd(field[6][inside]) > 0.1


def test_patches_of_a_part_lie_in_its_area_even_when_they_are_moved(fitted: Fitted) -> None:
    recipe, source = fitted
    plan, span = plan_training(build_training_spec(recipe), source), RolloutSpan(3, 2)
    for part, samples in (("train", plan.train), ("validation", plan.validation)):
        windows = {sample.window for sample in samples}
        assert windows
        assert all(fitted.area(part)[window.slices].all() for window in windows)
    moving = replace(build_training_spec(recipe).patches, jitter_px=3)
    drawn = build_patch_plan(
        moving, source, span, plan.train, SerialExecutor(), seed=0
    ).sample_epoch(0)
    moved = {sample.window for sample in drawn} - set(plan.patches)
    assert len(moved) > 3
    assert all(fitted.area("train")[window.slices].all() for window in moved)


def test_no_group_is_in_two_parts_and_pixels_without_one_stay_together(tmp_path: Path) -> None:
    fitted = fit(tmp_path, BASINS)
    domain, basins = fitted.source.domain(WHOLE), make_basins()
    numbers = read_part_numbers(fitted.source.fields, WHOLE)
    found = {
        int(basin): set(numbers[domain & (basins == basin)].tolist()) - {3}
        for basin in np.unique(basins[domain])
    }
    assert set(found) == {-1, *range(10, 16)}
    assert all(len(parts) == 1 for parts in found.values() if parts)
    assert set().union(*found.values()) == {0, 1, 2}


def test_the_test_is_the_same_in_every_fold_and_the_others_take_turns(tmp_path: Path) -> None:
    scored = []
    for fold in range(3):
        changes = ("split.folds=3", f"split.fold={fold}")
        fitted = fit(tmp_path / str(fold), BLOCKS, *changes)
        scored.append([fitted.source.scored_area(part, WHOLE) for part in PARTS])
    validated = np.sum([validation for _, validation, _ in scored], axis=0)
    assert validated.max() == 1
    for train, validation, test in scored:
        assert min(train.sum(), validation.sum(), test.sum()) > 20
        assert not (validated.astype(bool) & test).any()
        assert not (train & validation).any()


def plan_of(recipe: Recipe, source: Source) -> TrainingPlan:
    return plan_training(build_training_spec(recipe), source)


@pytest.mark.parametrize(
    ("place", "changes", "patch_px", "said"),
    [
        (
            {"block_px": 18, "correlation_px": 14},
            [],
            4,
            "part gets 1 block, all within 7",
        ),
        ({"block_px": 31, "correlation_px": 0}, [], 4, "1 groups cannot fill 3 parts"),
        (BLOCKS, ["split.folds=40"], 4, "groups cannot fill 40 parts.*ask for fewer folds"),
        (BASINS, [], 20, "train part of split.place: no patch of 20 x 20 px fits"),
    ],
)
def test_a_place_that_leaves_a_part_empty_is_refused_with_a_way_out(
    tmp_path: Path, place: dict[str, object], changes: list[str], patch_px: int, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        plan_of(*fit(tmp_path, place, *changes, patch_px=patch_px))
