from pathlib import Path

import numpy as np
import pytest

from pipeline.recipes import Recipe, load_recipe
from pipeline.spread import InPlace
from pipeline.streams.read import Source
from pipeline.streams.statistics import fit_stack
from pipeline.training.bundle import read_curves, train_bundle
from pipeline.training.train import Trained, plan_training, train_model
from stores.cube import Cube
from tests.make import make_cube


def prepare(folder: Path, **overrides: object) -> tuple[Recipe, Source]:
    cube = make_cube(folder, **overrides)
    recipe = load_recipe(folder / "recipe.yaml")
    stack = fit_stack(recipe, cube, folder / "fields.zarr", InPlace())
    return recipe, Source(cube, folder / "fields.zarr", stack)


def train(folder: Path, **overrides: object) -> Trained:
    recipe, source = prepare(folder, **overrides)
    return train_model(recipe, source, folder / "logs", spread=InPlace())


def test_training_lowers_the_validation_loss_below_that_of_the_mean(tmp_path: Path) -> None:
    trained = train(tmp_path, training={"epochs": 6, "lr": 0.01})
    losses = trained.curves["validation_loss"]
    assert len(losses) == 6
    assert losses.min() < 0.9 * losses.iloc[0]
    assert losses.argmin() + 1 == trained.best_epoch


def test_equal_recipes_give_equal_weights(tmp_path: Path) -> None:
    first, second = train(tmp_path / "a"), train(tmp_path / "b")
    assert any(weight.any() for weight in first.weights.values())
    for name, weight in first.weights.items():
        np.testing.assert_array_equal(weight, second.weights[name])


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    first = train(tmp_path / "a")
    second = train(tmp_path / "b", training={"seed": 1})
    name = "cells.0.inputs.weight"
    assert not np.array_equal(first.weights[name], second.weights[name])


@pytest.mark.parametrize(
    "training",
    [
        {"schedule": "plateau", "loss": {"kind": "huber", "delta": 0.5}, "epochs": 1},
        {"schedule": "constant", "loss": {"kind": "mae"}, "teacher_start": 1.0, "epochs": 1},
        {"leads": 1, "clip": 0.0, "precision": "bf16", "epochs": 1},
    ],
    ids=lambda training: str(training.get("schedule", "single")),
)
def test_every_way_to_learn_changes_the_weights(
    tmp_path: Path, training: dict[str, object]
) -> None:
    trained = train(tmp_path, training=training)
    assert np.isfinite(trained.curves["validation_loss"]).all()
    assert trained.weights["head.3.weight"].any()


def test_training_stops_when_the_validation_loss_stops_falling(tmp_path: Path) -> None:
    trained = train(tmp_path, training={"epochs": 9, "patience": 1, "lr": 3.0})
    assert len(trained.curves) < 9


def test_samples_of_both_parts_share_no_frame(tmp_path: Path) -> None:
    recipe, source = prepare(tmp_path)
    plan = plan_training(recipe, source)
    last = max(sample.init for sample in plan.train)
    first = min(sample.init for sample in plan.validation)
    learned = recipe.step.add(last, recipe.training.leads)
    seen = recipe.step.add(first, 1 - recipe.rollout.history)
    assert learned < seen


def test_a_part_that_the_cube_does_not_hold_is_refused(tmp_path: Path) -> None:
    recipe, source = prepare(tmp_path)
    split = recipe.split.with_values(
        validation=("2010-02", "2011-12"), test=("2012-02", "2013-12")
    )
    with pytest.raises(ValueError, match=r"split\.validation has no 5 frames in a row"):
        plan_training(recipe.with_values(split=split), source)


def test_a_bundle_holds_everything_needed_to_use_it(tmp_path: Path) -> None:
    cube = make_cube(tmp_path)
    recipe = load_recipe(tmp_path / "recipe.yaml")
    folders = (tmp_path / "models", tmp_path / "logs")
    bundle = train_bundle(recipe, cube, folders, spread=InPlace())
    assert (bundle.path / "curves.png").stat().st_size > 1000
    curves = read_curves(bundle)
    assert list(curves["epoch"]) == [1, 2]
    assert curves["lr"].notna().all()
    described = bundle.description
    assert described["channels"][:2] == ["rain", "valid"]
    assert described["cube_version"] == Cube.open(cube).version
    assert described["reach"] == {"first_px": 4, "further_px": 2, "stride": 1}
    assert described["fingerprint"] == recipe.fingerprint()
    assert str(tmp_path) not in str(described)
    assert not list((tmp_path / "logs").rglob("*.ckpt"))
    assert list((tmp_path / "logs" / "tensorboard").glob("events*"))
