import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.executors import SerialExecutor
from pipeline.recipes import Recipe, load_recipe
from pipeline.specs import build_fit_spec, build_training_spec
from pipeline.streams.source import Source
from pipeline.streams.statistics import fit_stack
from pipeline.training.bundle import read_curves, train_bundle
from pipeline.training.train import TrainingResult, train_model
from pipeline.training.training_plan import plan_training
from stores.cube import Cube
from tests.make import make_cube


def prepare(folder: Path, **overrides: object) -> tuple[Recipe, Source]:
    cube = make_cube(folder, **overrides)
    recipe = load_recipe(folder / "recipe.yaml")
    stack = fit_stack(build_fit_spec(recipe), cube, folder / "fields.zarr", SerialExecutor())
    return recipe, Source(cube, folder / "fields.zarr", stack)


def train(folder: Path, **overrides: object) -> TrainingResult:
    recipe, source = prepare(folder, **overrides)
    return train_model(
        build_training_spec(recipe), source, folder / "logs", executor=SerialExecutor()
    )


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
        {"loss": {"kind": "ssim", "data_range": 6, "window_px": 5}, "epochs": 1},
        {"loss": [{"kind": "mse"}, {"kind": "laplacian", "weight": 0.1}], "epochs": 1},
        {"leads_start": 1, "noise": 0.2, "ema": 0.9, "accumulate": 3},
        {"teacher_start": 1.0, "teacher_decay": "inverse-sigmoid"},
    ],
    ids=lambda training: "-".join(map(str, training)),
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


def test_patience_begins_when_rollouts_have_all_their_leads(tmp_path: Path) -> None:
    training = {"epochs": 6, "patience": 1, "lr": 0.3, "leads": 4, "leads_start": 1}
    few = {"patches_per_epoch": 12, "warmup_steps": 0}
    trained = train(tmp_path, training=training | few)
    losses = list(trained.curves["validation_loss"])
    assert losses[1] > losses[0]  # with one epoch of patience it would have stopped here
    assert len(losses) >= 4
    assert trained.best_epoch >= 4


@pytest.mark.parametrize("units", ["physical", "normalized"])
def test_the_score_that_was_chosen_decides(tmp_path: Path, units: str) -> None:
    score = {"kind": "rmse", "lead": 1, "units": units}
    trained = train(tmp_path, training={"epochs": 9, "patience": 1, "lr": 0.5, "score": score})
    scores = trained.curves["validation_rmse"]
    assert scores.argmin() + 1 == trained.best_epoch == len(scores) - 1
    assert (scores.min() > 5) == (units == "physical")  # [mm] against about one


def test_an_untrained_network_is_off_by_the_spread_of_the_target(tmp_path: Path) -> None:
    score = {"kind": "rmse", "units": "physical"}
    trained = train(tmp_path, training={"epochs": 1, "lr": 1e-12, "score": score})
    recipe, source = prepare(tmp_path / "again", training={"epochs": 1})
    errors = []
    for sample in plan_training(build_training_spec(recipe), source).validation:
        last = np.array([recipe.step.add(sample.init, recipe.training.leads)])
        truth = source.truth(sample.window, last)
        mean = source.inverse_transform(np.zeros_like(truth), sample.window, last)
        errors.append((truth - mean)[0][source.domain(sample.window)])
    expected = np.sqrt(np.nanmean(np.square(np.concatenate(errors), dtype=float)))
    assert trained.curves["validation_rmse"][0] == pytest.approx(expected, rel=1e-4)


def test_half_precision_is_refused_where_nothing_computes_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"precision=16 needs a CUDA device .* take bf16"):
        train(tmp_path, training={"precision": "16"})


def test_leads_are_added_one_by_one(tmp_path: Path) -> None:
    trained = train(
        tmp_path, training={"epochs": 5, "leads": 3, "leads_start": 1, "leads_every": 2}
    )
    assert list(trained.curves["leads"]) == [1, 1, 2, 2, 3]


def test_steps_of_several_batches_are_fewer(tmp_path: Path) -> None:
    recipe, source = prepare(tmp_path, training={"accumulate": 5})
    plan = plan_training(build_training_spec(recipe), source)
    n_batches = -(-len(plan.train) // recipe.training.batch)
    assert plan.steps_per_epoch == -(-n_batches // 5) < n_batches


def test_a_training_that_is_finished_is_not_repeated(tmp_path: Path) -> None:
    recipe, source = prepare(tmp_path)
    reported: list[float] = []

    def report(done: float, total: float, note: str = "") -> None:
        reported.append(done)

    first = train_model(
        build_training_spec(recipe),
        source,
        tmp_path / "logs",
        executor=SerialExecutor(),
        on_progress=report,
    )
    n_reported = len(reported)
    second = train_model(
        build_training_spec(recipe),
        source,
        tmp_path / "logs",
        executor=SerialExecutor(),
        on_progress=report,
    )
    assert n_reported == len(reported) == 2 * 56
    assert reported[-1] == 2.0
    pd.testing.assert_frame_equal(first.curves, second.curves)
    for name, weight in first.weights.items():
        np.testing.assert_array_equal(weight, second.weights[name])


def test_another_recipe_starts_anew_where_one_was_trained(tmp_path: Path) -> None:
    recipe, source = prepare(tmp_path)
    train_model(
        build_training_spec(recipe), source, tmp_path / "logs", executor=SerialExecutor()
    )
    changed = recipe.replace(training=recipe.training.replace(seed=1))
    found = train_model(
        build_training_spec(changed), source, tmp_path / "logs", executor=SerialExecutor()
    )
    alone = train_model(
        build_training_spec(changed), source, tmp_path / "alone", executor=SerialExecutor()
    )
    pd.testing.assert_frame_equal(found.curves, alone.curves)
    for name, weight in found.weights.items():
        np.testing.assert_array_equal(weight, alone.weights[name])


def test_the_log_shows_where_how_fast_and_how_well(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    train(tmp_path)
    message = "\n".join(record.getMessage() for record in caplog.records)
    for expected in (
        r"training 1753 parameters on cpu \(\w+ \w+\), \d+ threads?, precision 32-true, "
        r"torch [\d.]+\S*; 224 samples of 4 patches, 56 steps an epoch of up to 4 patches, "
        "up to 2 epochs; 28 samples validate",
        r"patches are read from memory: all samples take [\d.]+ kB decoded",
        r"epoch 1 of cube \w{12}, seed \d: 224 patches \(224 different\) of 224, 56 inits from",
        r"time +y +x\n2\d{3}-\d\d +\d+:\d+ +\d+:\d+\n(.*\n){2}and 221 more",
        r"epoch 1/2: train_loss [\d.]+, validation_rmse [\d.]+ mm month-1, "
        r"validation_loss [\d.]+, lr 0.0005; best so far, kept; [\d.]+ patches/s, "
        r"[\d.]+ % of the time waiting for them; at most [\d.]+ min left",
        "epoch 2/2: .*; done",
    ):
        assert re.search(expected, message), expected


def test_a_training_that_has_ended_is_not_said_to_have_computed_where_it_is_published(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe, source = prepare(tmp_path)
    first = train_model(
        build_training_spec(recipe), source, tmp_path / "logs", executor=SerialExecutor()
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        again = train_model(
            build_training_spec(recipe), source, tmp_path / "logs", executor=SerialExecutor()
        )
    finally:
        torch.set_num_threads(threads)
    assert again.arithmetic == first.arithmetic
    assert "will differ" not in caplog.text
    assert (again.best_epoch, len(again.curves)) == (first.best_epoch, len(first.curves))


def test_samples_of_both_parts_share_no_frame(tmp_path: Path) -> None:
    recipe, source = prepare(tmp_path)
    plan = plan_training(build_training_spec(recipe), source)
    last = max(sample.init for sample in plan.train)
    first = min(sample.init for sample in plan.validation)
    learned = recipe.step.add(last, recipe.training.leads)
    seen = recipe.step.add(first, 1 - recipe.rollout.history)
    assert learned < seen


def test_a_part_that_the_cube_does_not_hold_is_refused(tmp_path: Path) -> None:
    recipe, source = prepare(tmp_path)
    split = recipe.split.replace(validation=("2010-02", "2011-12"), test=("2012-02", "2013-12"))
    with pytest.raises(ValueError, match=r"split\.validation has no 5 frames in a row"):
        plan_training(build_training_spec(recipe.replace(split=split)), source)


def test_a_bundle_holds_everything_needed_to_use_it(tmp_path: Path) -> None:
    cube = make_cube(tmp_path)
    recipe = load_recipe(tmp_path / "recipe.yaml")
    folders = (tmp_path / "models", tmp_path / "logs")
    bundle = train_bundle(
        build_training_spec(recipe), Cube.open(cube), folders, executor=SerialExecutor()
    )
    assert (bundle.path / "curves.png").stat().st_size > 1000
    curves = read_curves(bundle)
    assert list(curves["epoch"]) == [1, 2]
    assert curves["lr"].notna().all()
    described = bundle.description
    assert described["channels"][:2] == ["rain", "valid"]
    assert described["cube_version"] == Cube.open(cube).version
    assert described["reach"] == {"first_px": 4, "further_px": 2, "stride": 1, "emits": 1}
    assert described["fingerprint"] == recipe.fingerprint()
    assert str(tmp_path) not in str(described)
    training = described["training"]
    best = curves.set_index("epoch").loc[training["best_epoch"]]
    assert training["score"] == "validation_loss"
    assert training["scores"]["validation_loss"] == pytest.approx(best["validation_loss"])
    assert set(described["versions"]) >= {"cubecast", "torch", "numpy", "rasterio", "python"}
    assert not list((tmp_path / "logs").rglob("*.ckpt"))
    assert list((tmp_path / "logs" / "tensorboard").glob("events*"))
