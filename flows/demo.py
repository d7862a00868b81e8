"""Flow: the whole job once."""

from __future__ import annotations

from pathlib import Path

from flows.console import console
from flows.evaluate import evaluate
from flows.forecast import forecast
from flows.ingest import ingest
from flows.recipe_flow import recipe_flow
from flows.recipe_store import open_cube
from flows.resolve import open_recipe
from flows.steps.step import call_flow
from flows.train import train


@recipe_flow("demo")
def demo(recipe: str, overrides: list[str] | None = None, root: str | None = None) -> str:
    """Ingest, train, evaluate and forecast the last year of the archive, and say where to look.

    Returns:
        The folder of the issue.
    """
    arguments = (recipe, overrides, root)
    call_flow(ingest, *arguments)
    call_flow(train, *arguments)
    scores = call_flow(evaluate, *arguments)
    issue = call_flow(forecast, *arguments, init=_last_verifiable_init(*arguments))
    _print_outputs(Path(issue), Path(scores))
    return issue


def _last_verifiable_init(recipe: str, overrides: list[str] | None, root: str | None) -> str:
    """Choose the last init whose forecast can be compared with what happened."""
    resolved = open_recipe(recipe, overrides, root)
    cube = open_cube(resolved)
    times = cube.step_times(resolved.target.variable)
    return cube.step.label(cube.step.add(times[-1], -resolved.rollout.leads))


def _print_outputs(issue: Path, scores: Path) -> None:
    root = issue.parents[2]
    opened = f"import xarray as xr; print(xr.open_zarr('{issue / 'forecast.zarr'}'))"
    for what, where in (
        ("report", issue / "report.html"),
        ("scores", scores),
        ("maps", issue / "cog"),
        ("catalog", root / "catalog.json"),
        ("forecast", f'python -c "{opened}"'),
        ("proof", f"cubecast verify {issue}"),
    ):
        console.print(f"  {what:<9} {where}", markup=False, highlight=False, soft_wrap=True)
