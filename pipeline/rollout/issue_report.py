"""The report of one issue: maps, errors where the truth is known, skill and training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from pipeline.metrics.intervals import Coverage
from pipeline.plots import (
    Extent,
    Quantity,
    plot_curves,
    plot_errors,
    plot_intervals,
    plot_maps,
    plot_series,
    plot_skill,
    plot_split,
)
from pipeline.report import Report, Section
from pipeline.rollout.evaluate import Evaluation
from pipeline.rollout.facts import LATE, ModelFacts, list_facts, list_links, write_byline
from pipeline.rollout.hindcast import MODEL
from pipeline.rollout.map_data import MapData
from pipeline.rollout.products import LOWER
from pipeline.skill_summary import list_warnings, score_overview, verdict
from pipeline.streams.spatial_split import describe_areas
from stores.forecast import Forecast
from stores.times import format_dates


def build_report(
    forecast: Forecast,
    map_data: MapData,
    description: Mapping[str, Any],
    *,
    curves: pd.DataFrame,
    evaluation: Evaluation | None,
    differences: Sequence[str] = (),
) -> Report:
    """Compose the page of one issue.

    Args:
        forecast: the issue.
        map_data: what its pictures need.
        description: of the bundle, by itself.
        curves: losses of its training.
        evaluation: scores of forecasts that were made as this one; None without any.
        differences: settings in which the nearest scores of other forecasts differ.
    """
    model = ModelFacts.of(description)
    step = str(forecast.step)
    first = forecast.format_time(1)
    last = forecast.format_time(len(forecast.times))
    init = forecast.step.format(forecast.init)
    long_name = forecast.attributes(model.target).get("long_name") or model.name
    return Report(
        title=str(forecast.group.attrs["title"]),
        subtitle=f"Forecast of {long_name}, {first} to {last}, from {init}",
        facts=list_facts(forecast, model),
        verdict=verdict(evaluation.table) if evaluation else "",
        warnings=_list_warnings(forecast, evaluation, differences),
        byline=write_byline(forecast),
        links=list_links(forecast),
        sections=[
            *_map_sections(forecast, map_data, model),
            *_skill_sections(evaluation, step),
            *_probabilistic_sections(evaluation, step),
            _training_section(curves, description["training"]["best_epoch"]),
            *_split_sections(forecast, map_data, model),
        ],
    )


def _training_section(curves: pd.DataFrame, best_epoch: int) -> Section:
    text = "Loss in normalized units, per epoch. Weights are those of the marked epoch."
    plot = partial(plot_curves, curves, best_epoch=best_epoch)
    return Section("How the model learned", text, plot=plot)


def _list_warnings(
    forecast: Forecast, evaluation: Evaluation | None, differences: Sequence[str]
) -> list[str]:
    late: list[str] = list(forecast.group.attrs.get(LATE, []))  # type: ignore[arg-type]
    if evaluation is None:
        settings = ", ".join(differences)
        others = f" (its scores are of forecasts with {settings})" if settings else ""
        return [
            *late,
            f"This model has not been scored as it was used here{others}, so nobody knows how "
            "good the forecast is; run: cubecast evaluate RECIPE, with the same settings",
        ]
    warnings = [*late, *evaluation.alarms]
    warnings += list_warnings(evaluation.table, evaluation.probabilistic)
    version = str(forecast.group.attrs["cube_version"])
    if evaluation.cube_version != version:
        warnings.append(
            f"The model was scored on version {evaluation.cube_version} of the cube, and the "
            f"forecast is made from version {version}; run cubecast evaluate RECIPE again if "
            "more than new frames came in."
        )
    return warnings


def _map_sections(forecast: Forecast, map_data: MapData, model: ModelFacts) -> list[Section]:
    name = str(forecast.attributes(model.target).get("standard_name", ""))
    quantity = Quantity.of(model.units, name)
    style: dict[str, Any] = {"extent": Extent.of(forecast.grid), "quantity": quantity}
    labels = [forecast.format_time(lead) for lead in map_data.leads]
    forecasts = partial(
        plot_maps, map_data.forecast, labels, title=f"Forecast {model.name}", **style
    )
    departures = partial(
        plot_maps,
        map_data.anomaly,
        labels,
        title="Forecast minus climatology",
        role="departure",
        **style,
    )
    caption = "Forecast minus the training climatology, which has the trend where there is one."
    if model.split.place is not None:
        caption += (
            " Outside of the training area the climatology is one mean over that area, so there"
            " departures show places, and no change."
        )
    return [
        Section("Forecast", _map_caption(forecast, map_data), forecasts),
        Section("Departure from the usual", caption, departures),
        *_width_sections(forecast, map_data, model, style),
        _mean_section(forecast, map_data, model),
        *_error_sections(map_data, labels, style),
    ]


def _width_sections(
    forecast: Forecast, map_data: MapData, model: ModelFacts, style: dict[str, Any]
) -> list[Section]:
    """List the section on the width of the intervals, if there are any."""
    if map_data.width is None:
        return []
    level = _level_of(forecast, model)
    labels = [forecast.format_time(lead) for lead in map_data.leads]
    plot = partial(
        plot_maps,
        map_data.width,
        labels,
        title=f"Width of the {level} interval",
        role="width",
        **style,
    )
    text = f"Upper minus lower end of the {level} interval: the wider, the less is known."
    return [Section("Where it is sure", text, plot)]


def _mean_section(forecast: Forecast, map_data: MapData, model: ModelFacts) -> Section:
    plot = partial(
        plot_series,
        map_data.means,
        units=model.units,
        title=f"Domain mean of {model.name}",
        init_time=forecast.init,
    )
    text = "Mean of all pixels of the domain that have a value at each valid time."
    if map_data.width is not None:
        text += (
            " The band spans the means of the lower and upper ends of each pixel's "
            f"{_level_of(forecast, model)} interval; the mean itself is surer than that, as "
            "errors of pixels partly cancel."
        )
    return Section("Mean over the domain", text, plot)


def _level_of(forecast: Forecast, model: ModelFacts) -> str:
    """Write which fraction of truths the intervals promise to hold."""
    return f"{forecast.attributes(f'{model.target}{LOWER}')['coverage']:.0%}"


def _map_caption(forecast: Forecast, map_data: MapData) -> str:
    n = len(forecast.times)
    n_drawn = len(map_data.leads)
    which = "One map per lead" if n == n_drawn else f"{n_drawn} of {n} leads"
    subsampled = (
        f" One pixel of {map_data.stride} x {map_data.stride} is drawn, the middle one."
    )
    return f"{which}, all with the same colors.{subsampled if map_data.stride > 1 else ''}"


def _error_sections(
    map_data: MapData, labels: list[str], style: dict[str, Any]
) -> list[Section]:
    known = [lead for lead, truth in enumerate(map_data.truth) if np.isfinite(truth).any()]
    if not known:
        return []
    plot = partial(
        plot_errors,
        map_data.forecast[known],
        map_data.truth[known],
        [labels[lead] for lead in known],
        title="Forecast, truth and their difference",
        **style,
    )
    text = "The leads whose truth has come in since."
    return [Section("Errors of this forecast", text, plot)]


def _skill_sections(evaluation: Evaluation | None, step: str) -> list[Section]:
    if evaluation is None:
        return []
    text = (
        f"{evaluation.hindcasts} of the {evaluation.part} part, "
        f"which the model never saw; every method is scored on the same {evaluation.n_pixels} "
        "pixels. "
        "Skill is the share of the baseline's squared error that is gone: above 0 is better."
    )
    return [
        Section(
            "Skill",
            text,
            plot=partial(plot_skill, evaluation.table, model=MODEL, step=step),
            table=score_overview(evaluation.table),
        )
    ]


def _split_sections(forecast: Forecast, map_data: MapData, model: ModelFacts) -> list[Section]:
    """List the section on which pixels were learned from, where the split is spatial."""
    spatial = model.split.place
    table = map_data.parts_table
    if spatial is None or table is None or map_data.parts is None:
        return []
    labels = describe_areas(table, spatial.unit_name)
    extent = Extent.of(forecast.grid)
    text = (
        f"Split {model.split.describe(model.step)}. Neither weights nor statistics know a "
        "value from outside of the training area; there, the climatology is the mean over "
        "that area."
    )
    plot = partial(plot_split, map_data.parts, labels, extent=extent)
    return [Section("Where it learned", text, plot=plot)]


def _probabilistic_sections(evaluation: Evaluation | None, step: str) -> list[Section]:
    if evaluation is None or evaluation.probabilistic is None:
        return []
    table = evaluation.probabilistic
    units = str(table["units"].iloc[0])
    texts = []
    plot = None
    if "coverage" in table:
        level = float(table["level"].iloc[0])
        plot = partial(
            plot_intervals, {MODEL: _coverage(table)}, level=level, units=units, step=step
        )
        texts.append(
            f"Intervals were made to hold {level:.0%} of the truths of "
            f"{format_dates(evaluation.margins)}; this is how many of the untouched "
            f"{evaluation.part} part they held. They hold on "
            "average over pixels and forecasts, not at each place."
        )
    if "crps" in table:
        texts.append(
            "CRPS is the error of the whole ensemble; lower is better. A spread-skill ratio "
            "below 1 says that members agree more than they are right."
        )
    if any(str(column).startswith("pinball") for column in table):
        texts.append(
            "Pinball is the error of a quantile: 90 % quantiles pay nine times as much for a "
            "truth above them as for one below. Below is the share of truths at or below the "
            "quantile, which should be its own."
        )
    return [
        Section(
            "How sure it is", "\n\n".join(texts), plot=plot, table=table.drop(columns="units")
        )
    ]


def _coverage(table: pd.DataFrame) -> Coverage:
    """Read the counts of intervals (lead,) from their table."""
    n = table["n"].to_numpy(dtype=np.int64)
    inside = (table["coverage"].to_numpy() * n).round().astype(np.int64)
    return Coverage(n, inside, table["width"].to_numpy() * n)
