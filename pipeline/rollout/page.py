"""The report of one issue: maps, errors where the truth is known, skill and training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.metrics.intervals import Coverage
from pipeline.plots import (
    Extent,
    plot_curves,
    plot_errors,
    plot_intervals,
    plot_maps,
    plot_parts,
    plot_series,
    plot_skill,
)
from pipeline.recipes import Recipe
from pipeline.report import Report, Section, score_overview, shortfalls, verdict
from pipeline.rollout.evaluate import Evaluation
from pipeline.rollout.hindcast import MODEL
from pipeline.rollout.publishing import show_bundle
from pipeline.streams.parts import describe_parts, read_map, read_parts
from pipeline.streams.read import Source
from stores.forecast import Forecast
from stores.windows import Window

LATE = "late_covariates"
"""Attribute of an issue: what stands for frames that came later than they should."""

_DRAWN_PX = 800  # longer sides are thinned before anything is kept in memory

Frames = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Drawn:
    """What pictures need of a forecast: thinned maps (lead, y, x) and means over the domain."""

    forecast: Frames
    departure: Frames
    """Forecast minus training climatology."""
    truth: Frames
    """What came in since; NaN where the truth is not known yet."""
    means: pd.DataFrame
    """Domain means by valid time: forecast, climatology, truth."""
    every: int
    """Maps hold every n-th pixel."""
    parts: npt.NDArray[np.int64] | None = None
    """Which part each pixel belongs to (y, x); None where parts are split by dates alone."""
    parts_table: pd.DataFrame | None = None
    """What each part got."""


def draw_issue(forecast: Forecast, source: Source) -> Drawn:
    """Read a forecast frame by frame and keep what pictures need."""
    variable, whole = source.stack.target.variable, Window.whole(_shape(forecast))
    every = max(1, -(-max(whole.shape) // _DRAWN_PX))
    held = set(source.open().dates[variable].tolist())
    maps: list[list[Frames]] = [[], [], []]
    rows = []
    for lead, time in enumerate(forecast.times, start=1):
        frame = forecast.read(variable, lead)
        usual = source.climatology(whole, np.array([time]))[0]
        known = time.item() in held
        truth = (
            source.truth(whole, np.array([time]))[0] if known else np.full_like(frame, np.nan)
        )
        inside = np.isfinite(frame)
        for column, values in zip(maps, (frame, frame - usual, truth), strict=True):
            column.append(values[::every, ::every])
        rows.append([_mean(values[inside]) for values in (frame, usual, truth)])
    means = pd.DataFrame(rows, forecast.times, ["forecast", "climatology", "truth"])
    shown, departure, truths = (np.stack(column) for column in maps)
    drawn = Drawn(shown, departure, truths, means.dropna(axis=1, how="all"), every)
    table = read_parts(source.fields)
    if table is None:
        return drawn
    parts = read_map(source.fields, whole)[::every, ::every]
    return replace(drawn, parts=parts, parts_table=table)


def build_report(
    recipe: Recipe,
    forecast: Forecast,
    drawn: Drawn,
    description: Mapping[str, Any],
    *,
    curves: pd.DataFrame,
    evaluation: Evaluation | None,
) -> Report:
    """Compose the page of one issue."""
    label = forecast.step.label(forecast.init)
    last = forecast.label(len(forecast.times))
    name = recipe.target_variable.long_name or recipe.target.variable
    return Report(
        title=recipe.title or recipe.name,
        subtitle=f"Forecast of {name} from {label} to {last}",
        facts=_facts(recipe, forecast, description),
        verdict=verdict(evaluation.table) if evaluation else "",
        warnings=_warnings(evaluation, dict(forecast.group.attrs)),
        sections=[
            *_map_sections(recipe, forecast, drawn, name),
            *_skill_sections(evaluation, str(forecast.step)),
            *_chance_sections(evaluation, str(forecast.step)),
            Section(
                "How the model learned",
                "Loss in normalized units, per epoch. The weights of the best epoch are used.",
                figure=plot_curves(curves),
            ),
            *_part_sections(recipe, forecast, drawn),
        ],
    )


def _warnings(evaluation: Evaluation | None, attributes: Mapping[str, Any]) -> list[str]:
    late = attributes.get(LATE, [])
    if evaluation is None:
        return [
            *late,
            "This model has not been scored on its test part yet, so nobody knows how good the "
            "forecast is; run: cubecast evaluate RECIPE",
        ]
    return [*late, *evaluation.alarms, *shortfalls(evaluation.table)]


def _facts(
    recipe: Recipe, forecast: Forecast, description: Mapping[str, Any]
) -> dict[str, str]:
    attributes = dict(forecast.group.attrs)
    height, width = _shape(forecast)
    return {
        "Last observed": forecast.step.label(forecast.init),
        "Leads": f"{len(forecast.times)}, one {forecast.step} each",
        "Grid": f"{height} x {width} px",
        "Units": recipe.target_variable.units,
        **_model_facts(forecast),
        "Trained on": recipe.split.label("train", recipe.step),
        **_split_facts(recipe),
        "Cube version": str(attributes["cube_version"]),
        "Recipe": str(attributes["recipe"])[:12],
        **_quantile_facts(description["network"]),
        **_rollout_facts(recipe, attributes),
    }


def _model_facts(forecast: Forecast) -> dict[str, str]:
    """Name every model, and how many forecasts were joined where it is more than one."""
    shown = [show_bundle(one) for one in forecast.bundles]
    names = ["Model"] if len(shown) == 1 else [f"Model {i}" for i in range(1, len(shown) + 1)]
    facts = dict(zip(names, shown, strict=True))
    return facts | ({"Members": str(forecast.members)} if forecast.members > 1 else {})


def _quantile_facts(network: Mapping[str, Any]) -> dict[str, str]:
    levels = network.get("quantiles", ())
    return {"Quantiles": ", ".join(map(str, levels))} if levels else {}


def _split_facts(recipe: Recipe) -> dict[str, str]:
    """Say how the parts were made, where not by dates alone."""
    words = recipe.split.words(recipe.step)
    return {"Split": words} if words else {}


def _rollout_facts(recipe: Recipe, attributes: Mapping[str, Any]) -> dict[str, str]:
    """Say how the forecast was rolled out, where that is not plain."""
    facts = {"Rollout": str(attributes["rollout"])} if "rollout" in attributes else {}
    if "precision" in attributes:
        largest = max(attributes["precision_error_largest"])
        units = recipe.target_variable.units
        facts["Precision"] = f"{attributes['precision']}, at most {largest:g} {units} off"
    return facts


def _map_sections(recipe: Recipe, forecast: Forecast, drawn: Drawn, name: str) -> list[Section]:
    look: dict[str, Any] = {
        "extent": Extent.of(forecast.grid),
        "units": recipe.target_variable.units,
    }
    labels = [forecast.label(lead) for lead in range(1, len(forecast.times) + 1)]
    thinned = f" Every {drawn.every}th pixel is drawn." if drawn.every > 1 else ""
    forecasts = plot_maps(drawn.forecast, labels, title=f"Forecast {name}", **look)
    departures = plot_maps(
        drawn.departure, labels, title="Forecast minus climatology", kind="diverging", **look
    )
    means = plot_series(
        drawn.means,
        units=look["units"],
        title=f"Domain mean of {name}",
        init_time=forecast.init,
    )
    usual = "Forecast minus the mean of the same season over the training part."
    whole = "Mean of all pixels of the domain at each valid time."
    return [
        Section("Forecast", f"One map per lead, all with the same colors.{thinned}", forecasts),
        Section("Departure from the usual", usual, departures),
        Section("Mean over the domain", whole, means),
        *_error_sections(drawn, labels, look),
    ]


def _error_sections(drawn: Drawn, labels: list[str], look: dict[str, Any]) -> list[Section]:
    known = [lead for lead, truth in enumerate(drawn.truth) if np.isfinite(truth).any()]
    if not known:
        return []
    figure = plot_errors(
        drawn.forecast[known],
        drawn.truth[known],
        [labels[lead] for lead in known],
        title="Forecast, truth and their difference",
        **look,
    )
    text = "The leads whose truth has come in since."
    return [Section("Errors of this forecast", text, figure)]


def _skill_sections(evaluation: Evaluation | None, step: str) -> list[Section]:
    if evaluation is None:
        return []
    inits = evaluation.inits
    text = (
        f"{len(inits)} forecasts from {inits[0]} to {inits[-1]} of the {evaluation.part} part, "
        f"which the model never saw; every method is scored on the same {_pixels(evaluation)}. "
        "Skill is the share of the baseline's squared error that is gone: above 0 is better."
    )
    return [
        Section(
            "Skill",
            text,
            figure=plot_skill(evaluation.table, model=MODEL, step=step),
            table=score_overview(evaluation.table),
        )
    ]


def _part_sections(recipe: Recipe, forecast: Forecast, drawn: Drawn) -> list[Section]:
    """Show which pixels were learned from, where parts are split by place."""
    place, table = recipe.split.place, drawn.parts_table
    if place is None or table is None or drawn.parts is None:
        return []
    labels, extent = describe_parts(table, place.unit), Extent.of(forecast.grid)
    text = (
        f"Split {recipe.split.words(recipe.step)}. Neither weights nor statistics know a value "
        "from outside of the training area; there, the climatology is the mean over that area."
    )
    figure = plot_parts(drawn.parts, labels, extent=extent)
    return [Section("Where it learned", text, figure=figure)]


def _chance_sections(evaluation: Evaluation | None, step: str) -> list[Section]:
    if evaluation is None or evaluation.chances is None:
        return []
    chances = evaluation.chances
    units = str(chances["units"].iloc[0])
    parts, figure = [], None
    if "coverage" in chances:
        level = float(chances["level"].iloc[0])
        figure = plot_intervals(
            {MODEL: _coverage(chances)}, level=level, units=units, step=step
        )
        parts.append(
            f"Intervals were made to hold {level:.0%} of the truths of the validation part; "
            f"this is how many of the untouched {evaluation.part} part they held. They hold on "
            "average over pixels and forecasts, not at each place."
        )
    if "crps" in chances:
        parts.append(
            "CRPS is the error of the whole ensemble; lower is better. A spread-skill ratio "
            "below 1 says that members agree more than they are right."
        )
    if any(str(column).startswith("pinball") for column in chances):
        parts.append(
            "Pinball is the error of a quantile: 90 % quantiles pay nine times as much for a "
            "truth above them as for one below. Below is the share of truths at or below the "
            "quantile, which should be its own."
        )
    table = chances.drop(columns="units")
    return [Section("How sure it is", "\n\n".join(parts), figure=figure, table=table)]


def _coverage(chances: pd.DataFrame) -> Coverage:
    """Count again what a table of intervals says."""
    n = chances["n"].to_numpy(dtype=np.int64)
    inside = (chances["coverage"].to_numpy() * n).round().astype(np.int64)
    return Coverage(n, inside, chances["width"].to_numpy() * n)


def _pixels(evaluation: Evaluation) -> str:
    return "pixels" if evaluation.n_pixels is None else f"{evaluation.n_pixels} pixels"


def _shape(forecast: Forecast) -> tuple[int, int]:
    return forecast.grid.shape[0], forecast.grid.shape[1]


def _mean(values: Frames) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
