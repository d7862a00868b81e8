"""One self-contained page per issue: what was forecast, and whether to trust it."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.metrics import ALL_LEADS, REFERENCES
from pipeline.metrics.ranges import name_leads
from pipeline.plots import name_of, show_units, to_png
from stores.files import write_text

_TIE = 0.005  # skills closer to zero are called equal
_MOST_DECIMALS = 6
_NO_VALUE = "–"


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a report; the figure and the table are each left out when None."""

    title: str
    text: str = ""
    """Paragraphs, divided by empty lines."""
    figure: Figure | None = None
    table: pd.DataFrame | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a report says, from top to bottom."""

    title: str
    subtitle: str
    facts: Mapping[str, str]
    """Short facts by name: init time, leads, grid, digests."""
    sections: Sequence[Section]
    verdict: str = ""
    """One sentence on how good the forecast is."""
    warnings: Sequence[str] = ()
    """What a reader must know before using a map; shown first."""


def write_report(path: Path, report: Report) -> None:
    """Write a report as one HTML file that needs no other file and no net.

    The same report always gives the same bytes.
    """
    write_text(path, render_report(report))


def render_report(report: Report) -> str:
    """Turn a report into HTML; all text is escaped."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("report.html.j2")
    sections = [_fill(section, number) for number, section in enumerate(report.sections, 1)]
    return page.render(report=report, sections=sections) + "\n"


def _fill(section: Section, number: int) -> dict[str, Any]:
    figure = section.figure
    return {
        "id": f"section-{number}",
        "title": section.title,
        "paragraphs": [part.strip() for part in section.text.split("\n\n") if part.strip()],
        "picture": None if figure is None else base64.b64encode(to_png(figure)).decode(),
        "alt": "" if figure is None else str(figure.get_label()) or section.title,
        "table": None if section.table is None else _cells(section.table),
    }


def verdict(table: pd.DataFrame) -> str:
    """Say in one sentence, with numbers, whether the forecast beats what costs nothing.

    Args:
        table: what ``score_table`` gave, with one method that is no reference.
    """
    model = _model_of(table)
    own = _pooled(table, model)
    if not own["n"] > 0:
        return "No pixel has both a forecast and a truth, so nothing can be said about its skill."
    lost, kept = [], []
    for reference in _references_of(table):
        skill = float(own[f"skill_{reference}"])
        rmse = float(_pooled(table, reference)["rmse"])
        said = f"{name_of(reference)} (RMSE {rmse:.3g}, skill {skill:.2f})"
        (lost if skill < -_TIE else kept).append(_judge(skill) + " " + said)
    if not lost and not kept:
        return f"The forecast's RMSE is {_error(own)}, but no baseline was scored to compare it with."
    start = f"Over {_span(table, model)} the forecast, with an RMSE of {_error(own)},"
    if not lost:
        return f"{start} {_join(kept)}{_weak_leads(table, model)}."
    advice = "where it is worse, the baseline is the forecast to use"
    but = f", but {_join(kept)}" if kept else ""
    return f"{start} {_join(lost)}{but}; {advice}."


def shortfalls(table: pd.DataFrame) -> list[str]:
    """Warn of every baseline that the forecast does not beat, naming leads and numbers."""
    model = _model_of(table)
    own = table[table["method"] == model]
    leads, pooled = own[own["lead"] != ALL_LEADS], _pooled(table, model)
    warnings = []
    for reference in _references_of(table):
        column = f"skill_{reference}"
        worse = leads[leads[column].to_numpy(dtype=float) < -_TIE]
        if worse.empty:
            continue
        lowest = worse.loc[worse[column].astype(float).idxmin()]
        warnings.append(
            f"The forecast is worse than {name_of(reference)} at "
            f"{name_leads([int(lead) for lead in worse['lead']])}: skill is {lowest[column]:.2f} "
            f"at lead {lowest['lead']} and {pooled[column]:.2f} over all leads together."
        )
    return warnings


def score_overview(table: pd.DataFrame) -> pd.DataFrame:
    """Arrange scores for people: one row a lead, RMSE of every method, skill of the model."""
    model, references = _model_of(table), _references_of(table)
    units = show_units(str(table["units"].iloc[0]))
    unit = f" [{units}]" if units else ""
    own = table[table["method"] == model].set_index("lead")
    columns = {f"RMSE{unit}": own["rmse"]}
    for reference in references:
        scored = table[table["method"] == reference].set_index("lead")
        columns[f"RMSE of {name_of(reference)}{unit}"] = scored["rmse"]
    for reference in references:
        columns[f"skill against {name_of(reference)}"] = own[f"skill_{reference}"]
    columns |= {f"bias{unit}": own["bias"], f"MAE{unit}": own["mae"], "R²": own["r2"]}
    columns |= {"correlation": own["correlation"], "pixels": own["n"]}
    return pd.DataFrame(columns)
