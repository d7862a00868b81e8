"""From what a person writes to a recipe; imports little, so that a mistake is told at once."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from pipeline.recipes import Recipe, RecipeError, load_recipe
from stores.times import parse_time

_SUFFIXES = {".yaml", ".yml"}
_PACKAGED = Path(str(files("deploy"))) / "recipes"


def open_recipe(recipe: str, overrides: Sequence[str] | None, root: str | None) -> Recipe:
    """Read the recipe that a name or a path means, with the caller's changes."""
    path = find_recipe(recipe)
    default = default_root(path)
    default_overrides = [] if default is None else [f"root={default}"]
    folder = None if root is None else Path(root)
    return load_recipe(path, overrides=[*default_overrides, *(overrides or [])], root=folder)


def default_root(path: Path) -> Path | None:
    """Return where a packaged recipe writes to, below the working folder; None for others.

    Beside itself is the installed package, which nothing may be written into.
    """
    is_packaged = path.resolve().parent == _PACKAGED.resolve()
    return Path("runs", path.stem) if is_packaged else None


def open_writable_recipe(
    recipe: str, overrides: Sequence[str] | None, root: str | None
) -> Recipe:
    """Read a recipe for work that writes, which its root must allow.

    Raises:
        ValueError: the root is a file, or nobody may write there.
    """
    resolved = open_recipe(recipe, overrides, root)
    check_root(resolved.root)
    return resolved


def check_root(root: Path) -> None:
    """Refuse a root that is no folder or that cannot be written; nothing is made.

    Raises:
        ValueError: says which folder stands in the way.
    """
    existing = next(path for path in (root, *root.parents) if os.path.lexists(path))
    way_out = "name another folder with --root or 'root' in the recipe"
    if not existing.is_dir():
        raise ValueError(
            f"root {root} cannot be a folder, because {existing} is a file, so nothing could "
            f"be written; {way_out}"
        )
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(
            f"root {root} cannot be written, because you may not write into {existing}, so all "
            f"work would be lost; change its permissions, or {way_out}"
        )


def check_init(init: str | None) -> None:
    """Refuse an init that is no date, before anything is read.

    Raises:
        ValueError: shows how dates are written.
    """
    try:
        parse_time("2000" if init is None else init)
    except ValueError as error:
        raise ValueError(f"--init {error}; the folder of an issue bears its label") from None


def named_recipe(what: str) -> Recipe | None:
    """Open the recipe that a person named in the place of a path; None where it is a path."""
    is_recipe = Path(what).suffix in _SUFFIXES or (_PACKAGED / f"{what}.yaml").is_file()
    return open_recipe(what, None, None) if is_recipe and not Path(what).is_dir() else None


def find_recipe(recipe: str) -> Path:
    """Find a recipe by its path, or by its name in deploy/recipes.

    Raises:
        RecipeError: there is none of that name.
    """
    if Path(recipe).suffix in _SUFFIXES:
        return Path(recipe)
    known = {path.stem: path for path in sorted(_PACKAGED.glob("*.yaml"))}
    if recipe not in known:
        close_matches = difflib.get_close_matches(recipe, known, n=1)
        advice = (
            f"did you mean {close_matches[0]!r}?"
            if close_matches
            else f"known are {', '.join(known)}"
        )
        raise RecipeError(
            f"recipe {recipe!r} is no YAML file and no name in {_PACKAGED}, so there is "
            f"nothing to run; {advice}"
        )
    return known[recipe]
