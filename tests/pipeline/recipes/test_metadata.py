from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.recipes import RecipeError, load_recipe
from tests.make import make_recipe


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "archive").mkdir()  # a recipe does not look into its archive
    return make_recipe(tmp_path)


def test_only_what_is_stated_becomes_an_attribute(path: Path) -> None:
    said = ["metadata.license=CC-BY-4.0", "metadata.keywords=[rain, Java]"]
    metadata = load_recipe(path, overrides=said).metadata
    assert metadata.attributes == {"license": "CC-BY-4.0", "keywords": "rain, Java"}
    assert load_recipe(path).metadata.attributes == {}


def test_another_licence_is_no_other_forecast(path: Path) -> None:
    first = load_recipe(path).fingerprint()
    assert load_recipe(path, overrides=["metadata.license=MIT"]).fingerprint() == first


@pytest.mark.parametrize(
    "methods",
    ["time: mean", "area: time: mean", "time: sum area: mean where land", "time: point"],
)
def test_cell_methods_are_taken_as_cf_writes_them(methods: str, path: Path) -> None:
    recipe = load_recipe(path, overrides=[f'archive.variables.rain.cell_methods="{methods}"'])
    assert recipe.target_variable.cell_methods == methods


@pytest.mark.parametrize("methods", ["mean", "time:mean", "time: average"])
def test_cell_methods_that_no_client_understands_are_refused(methods: str, path: Path) -> None:
    with pytest.raises(RecipeError, match="is not 'name: method'"):
        load_recipe(path, overrides=[f'archive.variables.rain.cell_methods="{methods}"'])
