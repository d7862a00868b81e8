"""One self-contained page per issue: what was forecast, and whether to trust it."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.plots import narrow_figures, to_png
from stores.array_types import Float64Array

_MAX_DECIMALS = 6
_SAME_FRACTION = 2e-4  # of the largest number: what differs by less may be written alike
_NO_VALUE = "\u2013"  # a dash


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a report; plot and table are each left out when None."""

    title: str
    text: str = ""
    """Paragraphs, divided by empty lines."""
    plot: Callable[[], Figure] | None = None
    """Draws the figure: once for a page, and once more for phones."""
    table: pd.DataFrame | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The content of a report, from top to bottom."""

    title: str
    subtitle: str
    facts: Mapping[str, str]
    """Short facts by name, shown last: init time, leads, grid, digests."""
    sections: Sequence[Section]
    """The first is the map: it stands above all others."""
    verdict: str = ""
    """One sentence on how good the forecast is."""
    warnings: Sequence[str] = ()
    """What a reader must know before using a map; counted above it, and listed below."""
    byline: str = ""
    """Who made the forecast when, and what may be done with it."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Where the data lie, relative to the page, by name."""


def render_report(report: Report) -> str:
    """Turn a report into one HTML page that needs no other file and no net.

    All text is escaped; the same report always gives the same page.
    """
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("report.html.j2")
    sections = [
        _render_section(section, number) for number, section in enumerate(report.sections, 1)
    ]
    return page.render(report=report, sections=sections) + "\n"


def _render_section(section: Section, number: int) -> dict[str, Any]:
    return {
        "id": f"section-{number}",
        "title": section.title,
        "paragraphs": [text.strip() for text in section.text.split("\n\n") if text.strip()],
        "picture": None
        if section.plot is None
        else _render_figure(section.plot, section.title),
        "table": None if section.table is None else _render_table(section.table),
    }


def _render_figure(plot: Callable[[], Figure], title: str) -> dict[str, str]:
    """Draw a figure wide and narrow; its label is the alternative text."""
    wide = plot()
    with narrow_figures():
        narrow = plot()
    return {
        "wide": base64.b64encode(to_png(wide)).decode(),
        "narrow": base64.b64encode(to_png(narrow)).decode(),
        "alt": str(wide.get_label()) or title,
    }


def _render_table(table: pd.DataFrame) -> dict[str, Any]:
    """Turn a table into a header and rows of text; numbers are marked to be right-aligned."""
    has_index = not isinstance(table.index, pd.RangeIndex)
    cells = table.reset_index() if has_index else table
    decimals = _decimals_by_column(cells)
    columns = [cells.iloc[:, k] for k in range(cells.shape[1])]
    texts = [_format_column(column, decimals.get(k, 0)) for k, column in enumerate(columns)]
    return {
        "header": [str(name).replace("_", " ") for name in cells.columns],
        "numeric": [pd.api.types.is_numeric_dtype(column) for column in columns],
        "rows": list(zip(*texts, strict=True)),
    }


def _format_column(column: pd.Series[Any], decimals: int) -> list[str]:
    """Write the cells of one column; floats with ``decimals`` decimals."""
    if pd.api.types.is_float_dtype(column):
        return [_format_number(value, decimals) for value in column.to_numpy(dtype=float)]
    if pd.api.types.is_integer_dtype(column):
        return [f"{value:,}".replace(",", "\u202f") for value in column]
    return [_NO_VALUE if pd.isna(value) else str(value) for value in column]


def _decimals_by_column(table: pd.DataFrame) -> dict[int, int]:
    """Choose the decimals of each column of floats; columns of one unit are written alike."""
    columns_by_unit: dict[str, list[int]] = {}
    for k, name in enumerate(table.columns):
        if pd.api.types.is_float_dtype(table.iloc[:, k]):
            unit = re.search(r"\[[^\]]*\]$", str(name))
            columns_by_unit.setdefault(unit[0] if unit else f"column {k}", []).append(k)
    return {
        k: _count_decimals(table.iloc[:, columns].to_numpy(dtype=float))
        for columns in columns_by_unit.values()
        for k in columns
    }


def _count_decimals(values: Float64Array) -> int:
    """Count decimals for three digits of the largest of (row, column), and to tell two apart.

    Numbers of one column differ by its range, those of one row by their least difference.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0
    largest = float(np.abs(finite).max())
    across = np.abs(np.diff(np.sort(values, axis=1), axis=1)).ravel()
    differences = np.append(across[across > _SAME_FRACTION * largest], np.ptp(finite))
    least = float(differences.min())
    decimals = [2 - math.floor(math.log10(largest))] if largest else [0]
    decimals += [-math.floor(math.log10(least))] if least > 1e-9 * largest else []
    return min(max(*decimals, 0), _MAX_DECIMALS)


def _format_number(value: float, decimals: int) -> str:
    if not math.isfinite(value):
        return _NO_VALUE
    return f"{value:z.{decimals}f}"  # z: no minus before zero
