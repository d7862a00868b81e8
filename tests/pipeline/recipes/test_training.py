from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.recipes import Recipe, RecipeError, TrainingRecipe, load_recipe
from pipeline.recipes.loss import LaplacianLoss, PointLoss, SSIMLoss
from tests.make import make_recipe

QUANTILE = {"kind": "quantile", "quantiles": [0.1, 0.5, 0.9]}


def training(**written: Any) -> TrainingRecipe:
    return TrainingRecipe.model_validate(written)


def refusal(**written: Any) -> str:
    with pytest.raises(ValidationError) as refused:
        training(**written)
    return str(refused.value)


def test_a_loss_is_one_mapping_or_a_list_of_them() -> None:
    assert training().losses == (PointLoss(),)
    assert training(loss={"delta": 2.0}).losses == (PointLoss(delta=2.0),)
    several = [{"kind": "mae"}, {"kind": "ssim", "data_range": 6, "weight": 0.2}]
    expected = (PointLoss(kind="mae"), SSIMLoss(kind="ssim", data_range=6, weight=0.2))
    assert training(loss=several).losses == expected
    assert training(loss=[{"kind": "laplacian"}]).losses == (LaplacianLoss(kind="laplacian"),)


def test_a_recipe_of_losses_survives_being_written_and_changed() -> None:
    recipe = training(loss=[{"kind": "huber"}, {"kind": "laplacian", "levels": 2}], patch_px=16)
    assert training(**recipe.model_dump(mode="json")) == recipe
    assert recipe.replace(lr=0.5).losses == recipe.losses


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"loss": {"kind": "rmse"}}, "kind is none of mse, mae, huber, ssim"),
        ({"loss": "mse"}, "kind is none of"),
        ({"loss": []}, "at least 1 item"),
        ({"loss": {"kind": "quantile", "quantiles": [0.5]}}, "at least 2 items"),
        ({"loss": {"kind": "quantile", "quantiles": [0.5, 0.1]}}, "do not rise"),
        ({"loss": {"kind": "quantile", "quantiles": [0.1, 0.9]}}, "lack 0.5"),
        ({"loss": {"kind": "quantile", "quantiles": [0.5, 1]}}, "less than 1"),
        ({"loss": {**QUANTILE, "classes": {}}}, "'classes' is unknown"),
        ({"loss": {"kind": "crps", "members": 1}}, "greater than or equal to 2"),
        ({"loss": [QUANTILE, {"kind": "crps"}]}, "loss holds quantile and crps"),
        ({"loss": [QUANTILE, {"kind": "mse"}, QUANTILE]}, "loss holds quantile and quantile"),
        ({"loss": {"kind": "ssim"}}, "data_range"),
        ({"loss": {"kind": "ssim", "data_range": 6, "window_px": 8}}, "take 7 or 9"),
        ({"loss": {"kind": "ssim", "data_range": 6}, "patch_px": 8}, "looks at 11 px at once"),
        ({"loss": {"kind": "laplacian", "levels": 5}, "patch_px": 16}, "at 32 px at once"),
        ({"loss": {"kind": "ssim", "data_range": 6, "area": True}}, "'area' is unknown"),
        ({"loss": {"classes": {"thresholds": [1, 2], "factors": [1, 2]}}}, "make 3 classes"),
        ({"loss": {"classes": {"thresholds": [2, 1], "factors": [1, 2, 3]}}}, "do not rise"),
        ({"leads": 2, "leads_start": 3}, "leads_start=3 is more than leads=2"),
        (
            {"score": {"kind": "rmse", "lead": 3}, "leads": 2},
            "score.lead=3 is more than leads=2",
        ),
        ({"score": {"lead": 1}}, "kind='loss' covers all leads"),
    ],
)
def test_a_training_that_cannot_be_is_refused(written: dict[str, Any], message: str) -> None:
    assert message in refusal(**written)


def test_a_loss_says_how_many_values_a_pixel_has() -> None:
    assert training().quantiles == ()
    assert training().members == 1
    mixed = training(loss=[{"kind": "mae"}, QUANTILE | {"weight": 2}])
    assert mixed.quantiles == (0.1, 0.5, 0.9)
    assert training(loss={"kind": "crps", "members": 7}).members == 7


def test_members_of_a_training_that_would_be_equal_are_refused(tmp_path: Path) -> None:
    def load(noise: float, dropout: float) -> Recipe:
        training = {"loss": {"kind": "crps"}, "noise": noise}
        return load_recipe(make_recipe(tmp_path, training=training, model={"dropout": dropout}))

    with pytest.raises(RecipeError, match=r"members=4 .* no spread.*set model\.dropout, or"):
        load(0, 0)
    assert load(0.1, 0).training.members == load(0, 0.1).training.members == 4


def test_an_ensemble_of_quantiles_is_refused_with_what_to_train_instead(tmp_path: Path) -> None:
    path = make_recipe(
        tmp_path,
        training={"loss": QUANTILE},
        model={"dropout": 0.1},
        rollout={"members": 3},
    )
    with pytest.raises(
        RecipeError, match=r"rollout\.members=3 with loss 'quantile'.*loss crps"
    ):
        load_recipe(path)


def load(folder: Any, **changes: Any) -> Recipe:
    return load_recipe(make_recipe(folder, training=changes))


def test_how_often_a_training_is_saved_makes_it_no_other_one(tmp_path: Any) -> None:
    first = load(tmp_path).fingerprint()
    assert load(tmp_path, checkpoint_minutes=1).fingerprint() == first
    assert load(tmp_path, ema=0.9).fingerprint() != first
