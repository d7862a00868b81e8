"""Flow: the whole job once."""

from __future__ import annotations

from pathlib import Path

from flows.asked import open_cube
from flows.console import console
from flows.evaluate import evaluate
from flows.forecast import forecast
from flows.ingest import ingest
from flows.resolve import open_recipe
from flows.scheduled import recipe_flow
from flows.steps.step import call
from flows.train import train


@recipe_flow("demo")
def demo(recipe: str, overrides: list[str] | None = None, root: str | None = None) -> str:
    """Ingest, train, evaluate and forecast the last year of the archive, and say where to look.

    Returns:
        The folder of the issue.
    """
    asked = (recipe, overrides, root)
    call(ingest, *asked)
    call(train, *asked)
    scores = call(evaluate, *asked)
    issue = call(forecast, *asked, init=_a_year_ago(*asked))
    _say_where(Path(issue), Path(scores))
    return issue


def _a_year_ago(recipe: str, overrides: list[str] | None, root: str | None) -> str:
    """Choose the last init whose forecast can be compared with what happened."""
    asked = open_recipe(recipe, overrides, root)
    cube = open_cube(asked)
    times = cube.times_of(asked.target.variable)
    return cube.step.label(cube.step.add(times[-1], -asked.rollout.leads))


def _say_where(issue: Path, scores: Path) -> None:
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
