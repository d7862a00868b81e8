"""Deployments: which flow runs when, applied to a server from deploy/prefect.yaml."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import PREFECT_API_URL
from prefect.workers.process import ProcessWorker

from flows.resolve import default_root, find_recipe
from stores.files import write_text

POOL = "cubecast"

_FOLDERS = ("root", "archive.root")  # overrides that hold a path


@dataclass(frozen=True, slots=True)
class Request:
    """What the deployments run: a recipe and what the caller changes in it."""

    recipe: str | None = None
    overrides: tuple[str, ...] = ()
    root: Path | None = None

    def change(self, stated: Mapping[str, Any]) -> dict[str, Any]:
        """Put the request on the parameters of a deployment, whose overrides are of its recipe.

        Runs start in another folder, so every path is absolute.
        """
        changed, overrides = dict(stated), [_absolute_override(text) for text in self.overrides]
        recipe = stated["recipe"] if self.recipe is None else _absolute_recipe(self.recipe)
        if recipe != stated["recipe"]:
            changed |= {"recipe": recipe, "overrides": []}
        if root := self._root_of(recipe):
            changed["root"] = str(root.absolute())
        return changed | {"overrides": [*changed["overrides"], *overrides]}

    def _root_of(self, recipe: str) -> Path | None:
        """Choose the folder that runs write to; None where the recipe or an override says."""
        if any(text.startswith("root=") for text in self.overrides):
            return self.root
        return self.root or default_root(find_recipe(recipe))

    def arguments(self) -> list[str]:
        """Spell the request as it is given to ``cubecast up``."""
        sets = [word for text in self.overrides for word in ("--set", text)]
        root = [] if self.root is None else ["--root", str(self.root)]
        return [*([self.recipe] if self.recipe else []), *sets, *root]


@dataclass(frozen=True, slots=True)
class Upcoming:
    """A deployment and its next run."""

    deployment: str
    next_run: datetime | None


def write_deployments(request: Request, target: Path) -> None:
    """Write deploy/prefect.yaml for one request."""
    written = yaml.safe_load(files("deploy").joinpath("prefect.yaml").read_text())
    for deployment in written["deployments"]:
        deployment["parameters"] = request.change(deployment["parameters"])
    write_text(target, yaml.safe_dump(written, sort_keys=False))


def create_pool(url: str) -> None:
    """Create the work pool, unless it is there."""
    pool = WorkPoolCreate(
        name=POOL,
        type=ProcessWorker.type,
        base_job_template=ProcessWorker.get_default_base_job_template(),
    )
    with SyncPrefectClient(url) as client:
        try:
            client.create_work_pool(pool)
        except ObjectAlreadyExists:
            return


def apply_deployments(deployments: Path, environment: dict[str, str]) -> None:
    """Apply a deployment file to the server that ``environment`` names.

    Raises:
        RuntimeError: Prefect refused it.
    """
    command = ["--no-prompt", "deploy", "--all", "--prefect-file", str(deployments)]
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *command],
        env=os.environ | environment,
        cwd=deployments.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"deployments were refused by Prefect:\n{done.stdout}{done.stderr}")


def deploy_to_active(request: Request) -> None:
    """Create the pool and apply the deployments on the server of the active profile.

    Raises:
        ConnectionError: no server is set, or it does not answer.
    """
    url = PREFECT_API_URL.value()
    if not url:
        raise ConnectionError(
            "PREFECT_API_URL is not set, so there is no server to deploy to; set it, or start "
            "a server of your own with 'cubecast up'"
        )
    try:
        create_pool(url)
    except httpx.ConnectError as error:
        raise ConnectionError(f"PREFECT_API_URL={url} does not answer: {error}") from None
    with TemporaryDirectory() as folder:
        deployments = Path(folder) / "prefect.yaml"
        write_deployments(request, deployments)
        apply_deployments(deployments, {})


def list_upcoming(url: str) -> list[Upcoming]:
    """Tell for every deployment when it runs next."""
    with SyncPrefectClient(url) as client:
        flows = {flow.id: flow.name for flow in client.read_flows()}
        return [
            Upcoming(f"{flows[found.flow_id]}/{found.name}", _next_run(client, found.id))
            for found in client.read_deployments()
        ]


def _next_run(client: SyncPrefectClient, deployment_id: Any) -> datetime | None:
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter.model_validate(
            {
                "deployment_id": {"any_": [str(deployment_id)]},
                "state": {"type": {"any_": ["SCHEDULED"]}},
            }
        ),
        sort=FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC,
        limit=1,
    )
    return runs[0].next_scheduled_start_time if runs else None


def _absolute_recipe(recipe: str) -> str:
    path = Path(recipe)
    return str(path.absolute()) if path.suffix in {".yaml", ".yml"} else recipe


def _absolute_override(text: str) -> str:
    key, _, value = text.partition("=")
    return f"{key}={Path(value).expanduser().absolute()}" if key in _FOLDERS else text


def missing(upcoming: Sequence[Upcoming]) -> list[str]:
    """Name the deployments that no run is scheduled for."""
    return [line.deployment for line in upcoming if line.next_run is None]
