from pathlib import Path

import pytest

from pipeline.executors import SerialExecutor
from pipeline.recipes import Recipe, load_recipe
from pipeline.specs import build_fit_spec, build_training_spec
from pipeline.streams.build_patch_plan import build_patch_plan
from pipeline.streams.patch_plan import PatchPlan
from pipeline.streams.samples import Sample
from pipeline.streams.source import Source
from pipeline.streams.statistics import fit_stack
from pipeline.training.training_plan import plan_training
from tests.make import make_cube


def build(folder: Path, **patches: object) -> tuple[Recipe, list[Sample], PatchPlan]:
    cube = make_cube(
        folder, training={"patch_px": 9, "patches_per_epoch": 50, "patches": patches}
    )
    recipe = load_recipe(folder / "recipe.yaml")
    stack = fit_stack(build_fit_spec(recipe), cube, folder / "fields.zarr", SerialExecutor())
    source = Source(cube, folder / "fields.zarr", stack)
    spec = build_training_spec(recipe)
    samples = list(plan_training(spec, source).train)
    plan = build_patch_plan(
        spec.patches, source, spec.span, samples, SerialExecutor(), seed=spec.seed
    )
    return recipe, samples, plan


def test_a_recipe_draws_each_patch_at_most_once_unless_it_says_otherwise(
    tmp_path: Path,
) -> None:
    recipe, samples, plan = build(tmp_path)
    drawn = plan.sample_epoch(0)
    assert len(set(drawn)) == len(drawn) == recipe.training.patches_per_epoch
    assert set(drawn) < set(samples)
    assert plan.cube_version in plan.describe()


@pytest.mark.parametrize("draw", ["quantiles", "changes"])
def test_a_recipe_may_draw_by_what_patches_hold(tmp_path: Path, draw: str) -> None:
    _, samples, plan = build(tmp_path, draw=draw)
    assert plan.weights is not None
    drawn = [sample for epoch in range(40) for sample in plan.sample_epoch(epoch)]
    likely, unlikely = int(plan.weights.argmax()), int(plan.weights.argmin())
    assert drawn.count(samples[likely]) > drawn.count(samples[unlikely])


def test_a_recipe_may_move_patches_where_enough_is_valid(tmp_path: Path) -> None:
    recipe, samples, plan = build(tmp_path, jitter_px=3)
    moved = {sample.window for sample in plan.sample_epoch(0)} - {
        sample.window for sample in samples
    }
    assert len(moved) > 5
    assert plan.constraint is not None
    assert all(
        plan.constraint.valid_fraction(window) >= recipe.training.min_valid for window in moved
    )
