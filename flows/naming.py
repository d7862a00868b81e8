"""Names of runs that a person recognizes."""

from __future__ import annotations

from pathlib import Path

from prefect.runtime import flow_run


def run_name() -> str:
    """Name a run after its flow, recipe and, where there is one, init time."""
    given = flow_run.parameters or {}
    parts = [flow_run.flow_name, Path(str(given.get("recipe", ""))).stem, given.get("init")]
    return " ".join(str(part) for part in parts if part)
