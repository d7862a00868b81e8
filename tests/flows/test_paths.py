from __future__ import annotations

from pathlib import Path

from flows.paths import find_training_path, training_path
from pipeline.recipes import Recipe, load_recipe
from tests.make import make_recipe


def open_small(folder: Path) -> Recipe:
    return load_recipe(make_recipe(folder))


def test_one_of_several_trainings_has_a_folder_of_its_own_that_is_a_name_on_every_disk(
    tmp_path: Path,
) -> None:
    recipe = open_small(tmp_path)
    folder = training_path(recipe, "model.hidden=[8, 8] " + "x" * 300)
    assert folder.parent == training_path(recipe).parent == recipe.root / "training"
    assert folder != training_path(recipe)
    assert folder.name.startswith(f"{recipe.name}+model.hidden=_8_8_x")
    assert len(folder.name) < 255
    assert not {" ", "[", "/"} & set(folder.name)


def test_a_training_that_was_begun_keeps_its_folder_under_another_label(tmp_path: Path) -> None:
    recipe = open_small(tmp_path)
    assert find_training_path(recipe) is None
    begun = training_path(recipe, "seed=1")
    begun.mkdir(parents=True)
    assert training_path(recipe, "another label") == begun == find_training_path(recipe)
    other = recipe.replace(training=recipe.training.replace(seed=7))
    assert find_training_path(other) is None
