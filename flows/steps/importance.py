"""Steps that measure what each covariate is worth."""

from __future__ import annotations

from typing import Any

from flows.artifacts import create_image, create_table
from flows.console import console, progress_bar, show_table
from flows.paths import scores_path
from flows.steps.scores import plan_hindcast_rollout
from flows.steps.step import step
from pipeline.executors import Executor
from pipeline.metrics import ALL_LEADS
from pipeline.metrics.importance import uninformative
from pipeline.plots import label_with_units, plot_importance, to_png
from pipeline.recipes import Recipe
from pipeline.rollout.permutation_importance import (
    ImportanceResult,
    ImportanceSpec,
    measure_importance,
)
from pipeline.specs import build_hindcast_spec
from stores.bundle import Bundle
from stores.cube import Cube
from stores.files import atomic_write
from stores.units import pretty_units


@step
def run_importance(
    recipe: Recipe, cube: Cube, bundle: Bundle, trial: ImportanceSpec, executor: Executor
) -> ImportanceResult:
    """Forecast a part from every init, as it is and with each covariate permuted in turn."""
    request, plan = plan_hindcast_rollout(recipe, cube, bundle, trial.part)
    spec = build_hindcast_spec(recipe, trial.part)
    with progress_bar("permuting covariates") as on_progress:
        return measure_importance(
            spec, request, plan.tiles, trial, executor=executor, on_progress=on_progress
        )


@step
def save_importance(recipe: Recipe, bundle: Bundle, found: ImportanceResult) -> str:
    """Write the table and a figure of it beside the scores; return the table's path."""
    path = found.save(scores_path(recipe, bundle.path))
    title = f"{bundle.path.name}: what each covariate is worth"
    figure = plot_importance(found.table, step=str(recipe.step), title=title)
    png = to_png(figure)
    with atomic_write(path.with_suffix(".png")) as temporary:
        temporary.write_bytes(png)
    create_image("importances", png, description=title, text=found.verdict)
    return str(path)


def show_importance(found: ImportanceResult) -> None:
    """Print one row per covariate, and what could be dropped."""
    units = pretty_units(str(found.table["units"].iloc[0]))
    title = (
        f"growth of the squared error [%] when a covariate is permuted: {len(found.inits)} "
        f"forecasts of the {found.trial.part} part, {found.trial.repeats} repeats"
    )
    rows = importance_rows(found, units)
    show_table(title, rows, columns=list(rows[0]))
    console.print(found.verdict, markup=False, highlight=False)
    create_table("importance", rows, description=title)


def importance_rows(found: ImportanceResult, units: str) -> list[dict[str, Any]]:
    """Write one row per covariate: growth over all leads, at the first and at the last one."""
    lost = uninformative(found.table)
    return [_row(str(name), of, units, helps=name not in lost) for name, of in _by_name(found)]


def _by_name(found: ImportanceResult) -> Any:
    return found.table.groupby("covariate", sort=False)


def _row(name: str, rows: Any, units: str, *, helps: bool) -> dict[str, Any]:
    grown = dict(zip(rows["lead"], 100 * rows["importance"], strict=True))
    pooled = rows[rows["lead"] == ALL_LEADS].iloc[0]
    last = max(lead for lead in grown if lead != ALL_LEADS)
    return {
        "covariate": name,
        "all leads": float(grown[ALL_LEADS]),
        "std": 100 * float(pooled["importance_sd"]),
        "lead 1": float(grown[1]),
        f"lead {last}": float(grown[last]),
        label_with_units("RMSE rise", units): float(pooled["rmse_rise"]),
        "helps": "yes" if helps else "no",
    }
