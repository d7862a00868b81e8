"""From what a person writes to a recipe; imports little, so that a mistake is told at once."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from pipeline.recipes import Recipe, RecipeError, load_recipe

_SUFFIXES = {".yaml", ".yml"}


def open_recipe(recipe: str, overrides: Sequence[str] | None, root: str | None) -> Recipe:
    """Read the recipe that a name or a path means, with the caller's changes."""
    folder = None if root is None else Path(root)
    return load_recipe(find_recipe(recipe), overrides=overrides or [], root=folder)


def find_recipe(recipe: str) -> Path:
    """Find a recipe by its path, or by its name in deploy/recipes.

    Raises:
        RecipeError: there is none of that name.
    """
    if Path(recipe).suffix in _SUFFIXES:
        return Path(recipe)
    folder = Path(str(files("deploy"))) / "recipes"
    known = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    if recipe not in known:
        near = difflib.get_close_matches(recipe, known, n=1)
        advice = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        raise RecipeError(
            f"recipe {recipe!r} is no YAML file and no name in {folder}, so there is nothing "
            f"to run; {advice}"
        )
    return known[recipe]
