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
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from pipeline.metrics import ALL_LEADS, REFERENCES, name_leads
from pipeline.plots import name_of, show_units, to_png
from stores.files import write_text

_TIE = 0.005  # skills closer to zero are called equal
_JUDGMENTS = ("worse than", "not comparable with", "as good as", "better than")
_MOST_DECIMALS = 6
_NO_VALUE = "\u2013"  # a dash


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
    own, references = _pooled(table, _model_of(table)), _references_of(table)
    if not own["n"]:
        return "No pixel has both a forecast and a truth, so nothing is known about its skill."
    error = f"RMSE {own['rmse']:.3g} {show_units(str(own['units']))}".rstrip()
    if not references:
        return (
            f"No baseline was scored, so the forecast ({error}) cannot be called good or bad."
        )
    judged: dict[str, list[str]] = {word: [] for word in _JUDGMENTS}
    for reference in references:
        skill, rmse = own[f"skill_{reference}"], _pooled(table, reference)["rmse"]
        said = f"{name_of(reference)} (RMSE {rmse:.3g}, skill {skill:.2f})"
        judged[_judge(skill)].append(said)
    clauses = [f"{word} {' and '.join(said)}" for word, said in judged.items() if said]
    sentence = f"Over all leads together the forecast ({error}) is {', '.join(clauses)}"
    if judged["worse than"]:
        best = min(references, key=lambda name: _pooled(table, name)["rmse"])
        return f"{sentence}; {name_of(best)} alone would have served better."
    weak = _weak_leads(table)
    yet = [f"{name_of(name)} at {name_leads(leads)}" for name, leads in weak.items()]
    return f"{sentence}; yet it is worse than {' and '.join(yet)}." if yet else f"{sentence}."


def shortfalls(table: pd.DataFrame) -> list[str]:
    """Warn of every baseline that the forecast does not beat at some lead, with numbers."""
    own = table[table["method"] == _model_of(table)].set_index("lead")
    warnings = []
    for reference, leads in _weak_leads(table).items():
        skill = own[f"skill_{reference}"]
        lowest = min(leads, key=lambda lead: float(skill[lead]))
        warnings.append(
            f"The forecast is worse than {name_of(reference)} at {name_leads(leads)}: its "
            f"skill is {skill[lowest]:.2f} at lead {lowest}, and {skill[ALL_LEADS]:.2f} over "
            "all leads together."
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


def _model_of(table: pd.DataFrame) -> str:
    """Find the one method that is judged."""
    methods = [str(method) for method in dict.fromkeys(table["method"])]
    models = [method for method in methods if method not in REFERENCES]
    if len(models) != 1:
        raise ValueError(
            f"the table scores {methods}, of which {models} are no references, so it is not "
            "clear which is judged; score one forecast beside the references"
        )
    return models[0]


def _references_of(table: pd.DataFrame) -> list[str]:
    return [reference for reference in REFERENCES if f"skill_{reference}" in table]


def _pooled(table: pd.DataFrame, method: str) -> dict[str, Any]:
    rows = table[(table["method"] == method) & (table["lead"] == ALL_LEADS)]
    return {str(name): value for name, value in rows.iloc[0].items()}


def _judge(skill: float) -> str:
    if math.isnan(skill):
        return "not comparable with"
    if abs(skill) < _TIE:
        return "as good as"
    return "better than" if skill > 0 else "worse than"


def _weak_leads(table: pd.DataFrame) -> dict[str, list[int]]:
    """Give the leads at which each reference is better, for references that ever are."""
    own = table[(table["method"] == _model_of(table)) & (table["lead"] != ALL_LEADS)]
    weak = {}
    for reference in _references_of(table):
        worse = [_judge(float(skill)) == "worse than" for skill in own[f"skill_{reference}"]]
        weak[reference] = [int(lead) for lead in own["lead"][worse]]
    return {reference: leads for reference, leads in weak.items() if leads}


def _cells(table: pd.DataFrame) -> dict[str, Any]:
    """Turn a table into a header and rows of text; numbers are marked to stand right."""
    named = not isinstance(table.index, pd.RangeIndex)
    whole = table.reset_index() if named else table
    columns = [_write_column(whole.iloc[:, place]) for place in range(whole.shape[1])]
    return {
        "header": [str(name).replace("_", " ") for name in whole.columns],
        "numeric": [
            pd.api.types.is_numeric_dtype(whole.iloc[:, k]) for k in range(len(columns))
        ],
        "rows": list(zip(*columns, strict=True)),
    }


def _write_column(column: pd.Series[Any]) -> list[str]:
    """Write numbers of one column with the same decimals, enough to tell them apart."""
    if pd.api.types.is_float_dtype(column):
        values = column.to_numpy(dtype=float)
        decimals = _decimals(values[np.isfinite(values)])
        return [_write_number(value, decimals) for value in values]
    if pd.api.types.is_integer_dtype(column):
        return [f"{value:,}".replace(",", "\u202f") for value in column]
    return [_NO_VALUE if pd.isna(value) else str(value) for value in column]


def _decimals(values: npt.NDArray[np.float64]) -> int:
    """Keep three digits of the largest number and one of the range."""
    if not values.size:
        return 0
    largest, spread = float(np.abs(values).max()), float(np.ptp(values))
    wanted = [2 - math.floor(math.log10(largest))] if largest else [0]
    wanted += [-math.floor(math.log10(spread))] if spread > 1e-9 * largest else []
    return min(max(*wanted, 0), _MOST_DECIMALS)


def _write_number(value: float, decimals: int) -> str:
    if not math.isfinite(value):
        return _NO_VALUE
    return f"{value:z.{decimals}f}"  # z: no minus before zero
