"""What a run leaves in Prefect's pages: tables, links and progress.

Outside a flow run, as when a flow's body is called as a plain function, nothing is left.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.context import FlowRunContext

_EVERY_S = 5.0  # a server asked more often has nothing better to say


def in_run() -> bool:
    """Tell whether Prefect runs what is running."""
    return FlowRunContext.get() is not None


def leave_table(key: str, rows: Iterable[Mapping[str, Any]], *, description: str) -> None:
    """Leave a table; every row has the same keys."""
    if in_run():
        table = [{name: _plain(value) for name, value in row.items()} for row in rows]
        create_table_artifact(table=table, key=_key(key), description=description)


def leave_text(key: str, markdown: str, *, description: str) -> None:
    """Leave a text in Markdown."""
    if in_run():
        create_markdown_artifact(markdown=markdown, key=_key(key), description=description)


def leave_link(key: str, path: Path, *, description: str) -> None:
    """Leave a link to a file."""
    if in_run():
        link = path.resolve().as_uri()
        create_link_artifact(link=link, key=_key(key), description=description)


class ProgressPage:
    """Progress of a run, in percent, told to the server every few seconds at most."""

    def __init__(self, key: str, description: str) -> None:
        self._id: UUID | None = None
        self._told = 0.0
        if in_run():
            found = create_progress_artifact(0.0, key=_key(key), description=description)
            self._id = found  # type: ignore[assignment]

    def tell(self, done: float, total: float) -> None:
        """Say how much is done; the last word is always passed on."""
        now = time.monotonic()
        if self._id is None or (done < total and now - self._told < _EVERY_S):
            return
        self._told = now
        update_progress_artifact(self._id, progress=100.0 * min(1.0, done / max(total, 1e-9)))


def _key(name: str) -> str:
    """Spell a key as Prefect wants it: lower case, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
