"""Names of runs that a person recognizes."""

from __future__ import annotations

from prefect.runtime import flow_run

from flows.resolve import open_recipe


def run_name() -> str:
    """Name a run after its flow, recipe and, where there is one, init time."""
    given = flow_run.parameters or {}
    try:
        name = open_recipe(given["recipe"], given["overrides"], given["root"]).name
    except ValueError:  # the run itself will say so
        name = str(given["recipe"])
    parts = [flow_run.flow_name, name, given.get("init")]
    return " ".join(str(part) for part in parts if part)
