"""What a forecast shows of itself: in the log, and in Prefect's pages."""

from __future__ import annotations

import logging
from pathlib import Path

from flows.artifacts import create_markdown, flush_logs
from stores.issue import FORECAST
from stores.publish import PublishResult

REPORT = "report.html"

_AGAIN = "already published"

log = logging.getLogger(__name__)


def show_issue(published: PublishResult) -> None:
    """Log where a forecast is, and leave how it is opened."""
    path = published.path
    revision = published.revision
    log.info("%s: %s (revision %d)", "issue" if published.is_new else _AGAIN, path, revision)
    opened = f"python -c \"import xarray as xr; print(xr.open_zarr('{path / FORECAST}'))\""
    page = path / REPORT
    for file in filter(Path.exists, (page, path / FORECAST)):
        log.info("%s: %s", file.stem, file)
    files = [f"- report: `{page}`"] * page.exists() + [f"- forecast: `{path / FORECAST}`"]
    commands = f"```\n{opened}\ncubecast verify {path}\n```"
    again = "" if published.is_new else f"{_AGAIN}: "
    text = "\n".join([f"{again}**{path}** (revision {revision})", "", *files, "", commands])
    create_markdown("issue", text, description=f"Issue {path.parent.name}/{path.name}")
    flush_logs()
