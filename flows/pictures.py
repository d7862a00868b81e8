"""Draw what was published: for slides and for people without a GIS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flows.console import console, echo_warning
from flows.resolve import named_recipe
from pipeline.recipes import Recipe
from pipeline.rollout.pictures import Pictures, write_pictures
from stores.cube import CUBE, Cube
from stores.cube_digests import check_frames
from stores.errors import CorruptError
from stores.forecast import open_forecast
from stores.formatting import abbreviate
from stores.issue import FORECAST, MANIFEST
from stores.manifest import compare_files, read_manifest
from stores.published import published_issues
from stores.scrub import Scrub

_MARKS = (FORECAST, MANIFEST)


def find_issues(named: Sequence[str]) -> list[Path]:
    """Find the issues that are meant: folders as they are, of a recipe the newest one.

    Raises:
        CorruptError: a recipe has published nothing.
    """
    recipes = {one: named_recipe(one) for one in named}
    return [_newest_issue(recipe) if recipe else Path(one) for one, recipe in recipes.items()]


def _newest_issue(recipe: Recipe) -> Path:
    """Find the last revision of the last init of a recipe."""
    found = published_issues(recipe.root).get(recipe.name)
    if not found:
        raise CorruptError(
            f"recipe {recipe.name!r} has published nothing in {recipe.root}, so there is "
            "nothing to draw; forecast first: cubecast forecast RECIPE"
        )
    return found[-1].path


def draw(issues: Sequence[Path], out: Path | None, dpi: int) -> None:
    """Draw published issues, each into a folder of its own.

    What is no issue is left out, since a shelf holds its catalog too.

    Raises:
        CorruptError: none is an issue, or one is damaged, or without its cube.
    """
    for path in _leave_out(issues):
        _check_unaltered(path)
        root = _root_of(path)
        pictures = Pictures(open_forecast(path / FORECAST), Cube.open(root / CUBE), dpi)
        check_frames(root / CUBE, pictures.list_read(), purpose="a picture")
        folder = (out or root / "pictures" / path.parent.name) / path.name
        for path in write_pictures(pictures, folder):
            console.print(f"  {path}", markup=False, highlight=False, soft_wrap=True)


def _leave_out(named: Sequence[Path]) -> list[Path]:
    """List the issues among what was named, and warn of what was left out.

    Raises:
        CorruptError: there is none.
    """
    issues = [path for path in named if any((path / mark).exists() for mark in _MARKS)]
    others = [str(path) for path in named if path not in issues]
    message = f"{abbreviate(others)} {'hold' if others[1:] else 'holds'} no issue"
    if not issues:
        raise CorruptError(f"{message}, so there is nothing to draw; name a folder that does")
    if others:
        echo_warning(f"{message}: left out")
    return [path.resolve() for path in issues]


def _check_unaltered(issue: Path) -> None:
    """Refuse to draw what is not what was published.

    Raises:
        CorruptError: names what is missing or altered.
    """
    manifest = read_manifest(issue)
    found = compare_files(issue, manifest, Scrub())
    if found:
        damaged = [f"{name} {what}" for name, what in found.items()]
        raise CorruptError(
            f"{issue} is damaged ({abbreviate(damaged)}), so pictures of it would show what "
            f"was never forecast; restore it from a copy; 'cubecast verify {issue}' names all "
            "of it"
        )


def _root_of(issue: Path) -> Path:
    """Find the folder in which both the issue and its cube lie.

    Raises:
        CorruptError: no folder above the issue holds a cube.
    """
    for folder in issue.parents:
        if (folder / CUBE).exists():
            return folder
    raise CorruptError(
        f"no folder above {issue} holds {CUBE}, so neither the last input nor the truth can be "
        "drawn; name an issue where it was published"
    )
