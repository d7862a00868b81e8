from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flows.resolve import find_recipe, open_recipe
from flows.schedule import DeployRequest

HOUSE = "rainfall-java"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("recipe", [HOUSE, str(find_recipe(HOUSE))])
def test_a_packaged_recipe_writes_below_the_working_folder_and_never_beside_itself(
    tmp_path: Path, recipe: str
) -> None:
    asked = open_recipe(recipe, None, None)
    assert asked.root == tmp_path / "runs" / HOUSE
    assert (asked.archive.root / "elevation.tif").exists()


def test_another_root_for_a_packaged_recipe_is_obeyed(tmp_path: Path) -> None:
    assert open_recipe(HOUSE, None, "there").root == tmp_path / "there"
    assert open_recipe(HOUSE, ["root=there"], None).root == tmp_path / "there"


def test_a_recipe_of_ones_own_writes_beside_itself(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    shutil.copy(find_recipe(HOUSE), tmp_path / "own/mine.yaml")
    assert open_recipe("own/mine.yaml", None, None).root == tmp_path / "own/runs" / HOUSE


def test_scheduled_runs_of_a_packaged_recipe_write_where_they_were_scheduled_from(
    tmp_path: Path,
) -> None:
    shutil.copy(find_recipe(HOUSE), tmp_path / "mine.yaml")

    def parameters(request: DeployRequest) -> Mapping[str, Any]:
        (product,) = request.products()
        return product.parameters

    assert parameters(DeployRequest())["root"] == str(tmp_path / "runs" / HOUSE)
    assert parameters(DeployRequest(root=Path("there")))["root"] == str(tmp_path / "there")
    moved = parameters(DeployRequest((HOUSE,), ("root=there",)))
    assert moved["root"] is None
    assert f"root={tmp_path / 'there'}" in moved["overrides"]
    assert parameters(DeployRequest(("mine.yaml",)))["root"] is None
