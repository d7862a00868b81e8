"""What a person at a terminal sees: tables, bars and messages."""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

_LOG_WIDTH = 110  # where output goes to a file, whose width nobody knows

console = Console(width=None if sys.stdout.isatty() else _LOG_WIDTH)
errors = Console(stderr=True)


class Tell(Protocol):
    """Say how many units are done, and what is being done."""

    def __call__(self, done: float, total: float, note: str = "") -> None:
        """Show it."""


@contextmanager
def progress_bar(title: str) -> Iterator[Tell]:
    """Show a bar while the body works; without a terminal nothing is drawn."""
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    drawn = console.is_terminal
    with Progress(*columns, console=console, disable=not drawn, transient=True) as progress:
        bar = progress.add_task(title, total=None, note="")

        def tell(done: float, total: float, note: str = "") -> None:
            progress.update(bar, completed=done, total=total, note=note)

        yield tell


def say(text: str) -> None:
    """Print a line as it is, to be copied."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def show_table(
    title: str, rows: Iterable[Mapping[str, Any]], *, columns: Sequence[str]
) -> None:
    """Print a table; numbers stand right."""
    table = Table(title=escape(title), title_justify="left", header_style="bold")
    rows = list(rows)
    for name in columns:
        numeric = all(isinstance(row[name], int | float) for row in rows)
        table.add_column(escape(name), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(_cell(row[name])) for name in columns))
    console.print(table)


def show_sheet(title: str, rows: Sequence[Mapping[str, Any]], *, key: str) -> None:
    """Print few rows with many columns the other way round, without columns that are empty."""
    names = [name for row in rows[:1] for name in row if name != key]
    lines = [{"": name} | {str(row[key]): row[name] for row in rows} for name in names]
    told = [line for line in lines if any(str(value) for value in list(line.values())[1:])]
    show_table(title, told, columns=["", *(str(row[key]) for row in rows)])


def show_logs(*, debug: bool = False) -> None:
    """Show what the rooms log, one fact a line; of Prefect only what is not ours to say."""
    if not debug:
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    from prefect.logging.configuration import setup_logging

    setup_logging()  # now, so that no flow replaces these handlers when it starts
    for handler in logging.getLogger().handlers:
        if not debug:
            handler.addFilter(_is_not_told_otherwise)
    for noisy in ("lightning", "lightning.pytorch", "distributed"):
        logging.getLogger(noisy).setLevel(logging.INFO if debug else logging.WARNING)
    shown = _Facts()
    for room in ("flows", "pipeline", "stores"):
        logger = logging.getLogger(room)
        logger.propagate = False
        logger.addHandler(shown)


def _is_not_told_otherwise(record: logging.LogRecord) -> bool:
    """Leave out how runs ended: the command line says it once, without the traceback."""
    return not record.name.startswith(("prefect.flow_runs", "prefect.task_runs"))


class _Facts(logging.Handler):
    """Print messages on the console that draws the bars, so that they do not tear them."""

    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING else None
        console.print(record.getMessage(), style=style, markup=False, highlight=False)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.3f}"
    return "-" if value is None else str(value)
