"""Steps that measure what each covariate is worth."""

from __future__ import annotations

from typing import Any

from flows.artifacts import leave_picture, leave_table
from flows.asked import scores_of
from flows.console import console, progress_bar, show_table
from flows.steps.scores import plan_part
from flows.steps.step import step
from pipeline.metrics import ALL_LEADS
from pipeline.metrics.importance import needless
from pipeline.plots import labeled, plot_importance, to_png
from pipeline.recipes import Recipe
from pipeline.rollout.importance import Importance, Trial, measure_importance
from pipeline.specs import build_hindcast_spec
from pipeline.spread import Spread
from stores.bundle import Bundle
from stores.cube import Cube
from stores.files import replacing
from stores.units import show_units


@step
def permute(
    recipe: Recipe, cube: Cube, bundle: Bundle, trial: Trial, spread: Spread
) -> Importance:
    """Forecast a part from every init, as it is and with each covariate permuted in turn."""
    request, plan = plan_part(recipe, cube, bundle, trial.part)
    spec = build_hindcast_spec(recipe, trial.part)
    with progress_bar("permuting covariates") as tell:
        return measure_importance(spec, request, plan.tiles, trial, spread=spread, tell=tell)


@step
def keep_importance(recipe: Recipe, bundle: Bundle, found: Importance) -> str:
    """Write the table and a figure of it beside the scores; return the table's path."""
    path = found.save(scores_of(recipe, bundle.path))
    title = f"{bundle.path.name}: what each covariate is worth"
    figure = plot_importance(found.table, step=str(recipe.step), title=title)
    png = to_png(figure)
    with replacing(path.with_suffix(".png")) as temporary:
        temporary.write_bytes(png)
    leave_picture("importances", png, description=title, text=found.verdict)
    return str(path)


def show_importance(found: Importance) -> None:
    """Print one row per covariate, and what could be dropped."""
    units = show_units(str(found.table["units"].iloc[0]))
    title = (
        f"growth of the squared error [%] when a covariate is permuted: {len(found.inits)} "
        f"forecasts of the {found.trial.part} part, {found.trial.repeats} repeats"
    )
    rows = importance_rows(found, units)
    show_table(title, rows, columns=list(rows[0]))
    console.print(found.verdict, markup=False, highlight=False)
    leave_table("importance", rows, description=title)


def importance_rows(found: Importance, units: str) -> list[dict[str, Any]]:
    """Give one row per covariate: growth over all leads, at the first and at the last one."""
    lost = needless(found.table)
    return [_row(str(name), of, units, helps=name not in lost) for name, of in _by_name(found)]


def _by_name(found: Importance) -> Any:
    return found.table.groupby("covariate", sort=False)


def _row(name: str, rows: Any, units: str, *, helps: bool) -> dict[str, Any]:
    grown = dict(zip(rows["lead"], 100 * rows["importance"], strict=True))
    pooled = rows[rows["lead"] == ALL_LEADS].iloc[0]
    last = max(lead for lead in grown if lead != ALL_LEADS)
    return {
        "covariate": name,
        "all leads": float(grown[ALL_LEADS]),
        "spread": 100 * float(pooled["importance_sd"]),
        "lead 1": float(grown[1]),
        f"lead {last}": float(grown[last]),
        labeled("RMSE rise", units): float(pooled["rmse_rise"]),
        "helps": "yes" if helps else "no",
    }
