from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.recipes import Recipe, TrainingRecipe, load_recipe
from pipeline.recipes.loss import LaplacianLoss, PointLoss, SSIMLoss
from tests.make import make_recipe


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
    assert recipe.with_values(lr=0.5).losses == recipe.losses


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"loss": {"kind": "rmse"}}, "kind is none of mse, mae, huber, ssim"),
        ({"loss": "mse"}, "kind is none of"),
        ({"loss": []}, "at least 1 item"),
        ({"loss": {"kind": "quantile", "quantiles": [0.5]}}, "one output per quantile"),
        ({"loss": {"kind": "crps"}}, "two members or more"),
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


def load(folder: Any, **changes: Any) -> Recipe:
    return load_recipe(make_recipe(folder, training=changes))


def test_how_often_a_training_is_saved_makes_it_no_other_one(tmp_path: Any) -> None:
    first = load(tmp_path).fingerprint()
    assert load(tmp_path, checkpoint_minutes=1).fingerprint() == first
    assert load(tmp_path, ema=0.9).fingerprint() != first
