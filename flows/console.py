"""What a person at a terminal sees: tables, bars and messages."""

from __future__ import annotations

import logging
import math
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

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

from stores.progress import ProgressCallback

_LOG_WIDTH = 110  # where output goes to a file, whose width nobody knows
_LOG_S = 30.0  # between two lines on progress, where no bar can be drawn
_WORD_WIDTH = 20  # longer words, such as paths, may be cut to fit
_SERVER_LOGGERS = ("prefect.events.clients", "prefect._internal.concurrency")
_FILE = re.compile(r"\S+\.tiff?\b:? ?", re.IGNORECASE)
_NUMBER = re.compile(r"[-+(]?\d[\d.,:eE+-]*\S{0,2}")

log = logging.getLogger(__name__)

console = Console(width=None if sys.stdout.isatty() else _LOG_WIDTH)
stderr = Console(stderr=True)


@contextmanager
def progress_bar(title: str) -> Iterator[ProgressCallback]:
    """Show a bar while the body works; without a terminal, log a line now and then."""
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    is_drawn = console.is_terminal
    options: dict[str, Any] = {"console": console, "disable": not is_drawn, "transient": True}
    # Warnings go where stderr goes, unless they would tear the bar.
    with Progress(*columns, **options, redirect_stderr=stderr.is_terminal) as progress:
        bar = progress.add_task(title, total=None, note="")
        log_lines = _ProgressLog(title)

        def on_progress(done: float, total: float, note: str = "") -> None:
            progress.update(bar, completed=done, total=total, note=note)
            if not is_drawn:
                log_lines.update(done, total, note)

        yield on_progress


class _ProgressLog:
    """Progress in lines, for logs; work that is done sooner says nothing."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._logged = time.monotonic()

    def update(self, done: float, total: float, note: str) -> None:
        now = time.monotonic()
        if now - self._logged >= _LOG_S and done < total:
            self._logged = now
            log.info("%s: %g of %g%s", self._title, done, total, f", {note}" if note else "")


def echo(text: str) -> None:
    """Print a line as it is, to be copied."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def echo_warning(text: str) -> None:
    """Print what a person should look at, apart from the facts: on stderr."""
    stderr.print(
        f"warning: {text}", style="yellow", markup=False, highlight=False, soft_wrap=True
    )


def show_table(
    title: str, rows: Iterable[Mapping[str, Any]], *, columns: Sequence[str]
) -> None:
    """Print a table; numbers stand right.

    Where the terminal is too narrow, columns go on in further tables below, each with the first
    column: a number is never broken.
    """
    table_rows = list(rows)
    console.print(title, style="italic", markup=False, highlight=False, soft_wrap=True)
    cells = {name: [_cell(row[name]) for row in table_rows] for name in columns}
    widths = [max(map(_least_width, [name, *cells[name]])) for name in columns]
    for group in _split_columns(widths, console.width):
        table = Table(header_style="bold")
        for name, width in ((columns[index], widths[index]) for index in group):
            numeric = all(isinstance(row[name], int | float) for row in table_rows)
            table.add_column(
                escape(name),
                justify="right" if numeric else "left",
                overflow="fold",
                min_width=width,
            )
        for row in zip(*(cells[columns[index]] for index in group), strict=True):
            table.add_row(*map(escape, row))
        console.print(table)


def _split_columns(widths: Sequence[int], table_width: int) -> list[list[int]]:
    """Group columns into tables of ``table_width``; each begins with the first column."""
    groups = [[0]]
    used = widths[0] + 4  # a column has three characters around it, a table one
    for index, width in enumerate(widths[1:], start=1):
        if used + width + 3 > table_width and len(groups[-1]) > 1:
            groups.append([0])
            used = widths[0] + 4
        groups[-1].append(index)
        used += width + 3
    return groups


def _least_width(cell: str) -> int:
    """Return how narrow a cell may become: not below its longest number or short word."""
    words = cell.split()
    whole = (len(word) for word in words if _NUMBER.fullmatch(word))
    return max([1, *whole, *(min(len(word), _WORD_WIDTH) for word in words)])


def show_transposed_table(title: str, rows: Sequence[Mapping[str, Any]], *, key: str) -> None:
    """Print few rows with many columns the other way round, without columns that are empty."""
    names = [name for row in rows[:1] for name in row if name != key]
    transposed = [{"": name} | {str(row[key]): row[name] for row in rows} for name in names]
    nonempty = [
        row for row in transposed if any(str(value) for value in list(row.values())[1:])
    ]
    show_table(title, nonempty, columns=["", *(str(row[key]) for row in rows)])


def configure_logging(*, debug: bool = False) -> None:
    """Show what our packages log, one fact a line; of Prefect only what is not ours to say."""
    if not debug:
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    from prefect.logging.configuration import setup_logging

    setup_logging()  # now, so that no flow replaces these handlers when it starts
    for handler in logging.getLogger().handlers:
        if not debug:
            handler.addFilter(_is_not_run_summary)
    for noisy in ("lightning", "lightning.pytorch", "distributed"):
        logging.getLogger(noisy).setLevel(logging.INFO if debug else logging.WARNING)
    for about_server in () if debug else _SERVER_LOGGERS:  # we log its loss once
        logging.getLogger(about_server).addFilter(lambda record: False)
    if not debug:
        logging.getLogger("rasterio._env").addFilter(DuplicateFilter())
    logging.raiseExceptions = debug
    shown = _ConsoleHandler()
    for package in ("flows", "pipeline", "stores"):
        logger = logging.getLogger(package)
        logger.propagate = False
        logger.addHandler(shown)


def _is_not_run_summary(record: logging.LogRecord) -> bool:
    """Leave out how runs ended: the command line says it once, without the traceback."""
    return not record.name.startswith(("prefect.flow_runs", "prefect.task_runs"))


class DuplicateFilter(logging.Filter):
    """Let GDAL say once what it says of every file of an archive."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Check whether this was not said yet, of this file or another."""
        text = _FILE.sub("", record.getMessage())
        is_new = text not in self._seen
        self._seen.add(text)
        return is_new


class _ConsoleHandler(logging.Handler):
    """Print facts on the console that draws the bars, so that they do not tear them."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            echo_warning(record.getMessage())
        else:
            console.print(record.getMessage(), markup=False, highlight=False)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.3f}"
    return "-" if value is None else str(value)
