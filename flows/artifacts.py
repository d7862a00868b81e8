"""What a run leaves in Prefect's pages: tables, texts, pictures and progress.

Each holds what it shows, since a browser opens no file of the machine that ran. Outside a flow
run, as when a flow's body is called as a plain function, nothing is left.
"""

from __future__ import annotations

import base64
import logging
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.context import FlowRunContext
from prefect.logging.handlers import APILogHandler

from flows.console import console

log = logging.getLogger(__name__)

_UPDATE_S = 5.0  # more often shows no more
_LOG_S = 30.0  # a log is read by people

_recipe: ContextVar[str] = ContextVar("recipe", default="")


def in_run() -> bool:
    """Check whether Prefect runs what is running."""
    return FlowRunContext.get() is not None


@contextmanager
def recipe_context(recipe: str) -> Iterator[None]:
    """Put the name of a recipe on what the body leaves, apart from that of other recipes."""
    token = _recipe.set(recipe)
    try:
        yield
    finally:
        _recipe.reset(token)


@contextmanager
def _tolerate_lost_server() -> Iterator[None]:
    """Go on where the server is gone: the work is worth more than the page that shows it."""
    try:
        yield
    except httpx.TransportError as error:
        log.warning("the server is gone (%s), so a page of this run is missing there", error)


def flush_logs() -> None:
    """Send what was logged to the server now: who watches a run stops listening as it ends."""
    if in_run():
        APILogHandler().flush()


def create_table(key: str, rows: Iterable[Mapping[str, Any]], *, description: str) -> None:
    """Leave a table; every row has the same keys."""
    if in_run():
        table = [{name: _to_json_value(value) for name, value in row.items()} for row in rows]
        with _tolerate_lost_server():
            create_table_artifact(table=table, key=_key(key), description=description)


def create_markdown(key: str, markdown: str, *, description: str) -> None:
    """Leave a text in Markdown."""
    if in_run():
        with _tolerate_lost_server():
            create_markdown_artifact(markdown=markdown, key=_key(key), description=description)


def create_image(key: str, png: bytes, *, description: str, text: str = "") -> None:
    """Leave a picture, below a text in Markdown."""
    url = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    create_markdown(key, f"{text}\n\n![{description}]({url})", description=description)


class ProgressArtifact:
    """Progress of a run, in percent: sent to the server every few seconds at most.

    Where no bar is drawn, a line of the log says it now and then.
    """

    def __init__(self, key: str, description: str) -> None:
        self._id: UUID | None = None
        self._description = description
        self._updated = 0.0
        self._logged = time.monotonic()
        if in_run():
            with _tolerate_lost_server():
                created = create_progress_artifact(0.0, key=_key(key), description=description)
                self._id = created  # type: ignore[assignment]

    def update(self, done: float, total: float, note: str = "") -> None:
        """Report how much is done; the last word is always passed on to the server."""
        now = time.monotonic()
        if now - self._logged >= _LOG_S and (in_run() or not console.is_terminal):
            self._logged = now
            more = f"; {note}" if note else ""
            log.info("%s: %g of %g%s", self._description, done, total, more)
        if self._id is None or (done < total and now - self._updated < _UPDATE_S):
            return
        artifact_id = self._id
        self._id = None  # no further call once it is lost
        with _tolerate_lost_server():
            update_progress_artifact(
                artifact_id, progress=100.0 * min(1.0, done / max(total, 1e-9))
            )
            self._id = artifact_id
        self._updated = time.monotonic()


def _key(name: str) -> str:
    """Spell a key as Prefect wants it: lower case, digits and dashes; the recipe first."""
    words = f"{_recipe.get()} {name}".lower()
    return re.sub(r"[^a-z0-9]+", "-", words).strip("-")


def _to_json_value(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
