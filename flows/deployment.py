"""The deployments of a server: listed, applied beside each other, and taken away again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID
from zoneinfo import ZoneInfo

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectAlreadyExists
from prefect.workers.process import ProcessWorker

from flows import notify
from flows.connection import connect_to_server
from flows.console import echo_warning
from flows.schedule import (
    POOL,
    RECIPE_TAG,
    DeployedRecipe,
    DeployRequest,
    absolute_recipe,
    apply_deployments,
    write_deployments,
)
from pipeline.recipes.schedule import name_cadence

_N_NEXT_RUNS = 3


@dataclass(frozen=True, slots=True)
class DeploymentInfo:
    """A deployment as a server has it."""

    id: UUID
    flow: str
    deployment: str
    recipe: str
    path: str
    """Recipe that its runs are given."""
    cron: str | None
    timezone: str
    paused: bool
    next_runs: tuple[datetime, ...] = ()

    @property
    def name(self) -> str:
        """Return the name that ``prefect deployment run`` does."""
        return f"{self.flow}/{self.deployment}"

    @property
    def lacks_scheduled_runs(self) -> bool:
        """Check whether its schedule should have a next run and has none."""
        return self.cron is not None and not self.paused and not self.next_runs

    @property
    def next_runs_text(self) -> str:
        """Write when it runs, in the time zone of its schedule."""
        if self.cron is None:
            return "by hand"
        if self.paused:
            return "paused"
        return f"next {', '.join(map(self._local, self.next_runs)) or 'run is not planned yet'}"

    def _local(self, time: datetime) -> str:
        return f"{time.astimezone(ZoneInfo(self.timezone)):%Y-%m-%d %H:%M %Z}"


def create_pool(client: SyncPrefectClient) -> None:
    """Create the work pool, unless it is there."""
    pool = WorkPoolCreate(
        name=POOL,
        type=ProcessWorker.type,
        base_job_template=ProcessWorker.get_default_base_job_template(),
    )
    try:
        client.create_work_pool(pool)
    except ObjectAlreadyExists:
        return


def deploy(
    request: DeployRequest,
    url: str,
    *,
    folder: Path | None = None,
    settings: Mapping[str, str] | None = None,
) -> list[str]:
    """Add products to a server, or bring what it has of them up to date.

    Other products stay as they are, and what somebody has paused stays paused.

    Args:
        request: recipes to deploy, which are checked before anything changes.
        url: of the server.
        folder: keeps the file that is applied.
        settings: of Prefect, beside those of this process.

    Returns:
        Names of the deployments.
    """
    products = request.products()
    with connect_to_server(url) as client:
        blocks = [notify.find_block(client, product) for product in products]
        create_pool(client)
        before = list_deployed(client)
        _warn_moved(before, products)
        first = _unsuffixed_product(before, products)
        paused = {(known.recipe, known.flow) for known in before if known.paused}
        with TemporaryDirectory() as temporary:
            target = (folder or Path(temporary)) / "prefect.yaml"
            write_deployments(products, target, first=first, paused=paused)
            try:
                apply_deployments(target, {**(settings or {}), "PREFECT_API_URL": url})
            except RuntimeError:
                client.hello()  # says in a sentence if it is the server that is gone
                raise
        names = [
            name
            for product in products
            for name in product.deployment_names(first=product.name == first)
        ]
        _delete_outdated(client, before, products, names)
        for product, block in zip(products, blocks, strict=True):
            notify.create_failure_automation(client, product.name, block)
    return names


def _delete_outdated(
    client: SyncPrefectClient,
    before: Sequence[DeploymentInfo],
    products: Sequence[DeployedRecipe],
    names: Sequence[str],
) -> None:
    """Take away what ran a product at another cadence, under another name."""
    deployed = {product.name for product in products}
    for known in before:
        if known.recipe in deployed and known.name not in names:
            client.delete_deployment(known.id)


def _unsuffixed_product(
    before: Sequence[DeploymentInfo], products: Sequence[DeployedRecipe]
) -> str:
    """Name the product whose deployments are called by their cadence alone: who came first.

    What is deployed keeps its names, whatever the order of the recipes and whoever has gone.
    """
    owners = [entry.recipe for entry in before if entry.deployment == name_cadence(entry.cron)]
    deployed = {entry.recipe for entry in before}
    new = [product.name for product in products if product.name not in deployed]
    return next(iter([*owners, *new]), "")


def _warn_moved(before: Sequence[DeploymentInfo], products: Sequence[DeployedRecipe]) -> None:
    """Warn where a recipe takes the place of another one that has its name."""
    known = {entry.recipe: entry.path for entry in before}
    for product in products:
        path = product.parameters["recipe"]
        if known.get(product.name, path) != path:
            echo_warning(
                f"the deployments of {product.name!r} ran {known[product.name]} and run {path} "
                "from now on; if these are two products, give each a name of its own"
            )


def remove(name: str, client: SyncPrefectClient) -> list[str]:
    """Take a deployment away, or all those of a recipe; return their names.

    Raises:
        LookupError: the server has none of that name.
    """
    deployed = list_deployed(client)
    removed = [entry for entry in deployed if name in (entry.name, entry.recipe)]
    if not removed:
        known = ", ".join(dict.fromkeys(entry.recipe for entry in deployed)) or "none"
        raise LookupError(
            f"{name!r} is no deployment and no recipe of the server, so nothing was removed; "
            f"it has the recipes {known}: cubecast deployments"
        )
    for entry in removed:
        client.delete_deployment(entry.id)
    for recipe in {entry.recipe for entry in removed}:
        if all(entry in removed for entry in deployed if entry.recipe == recipe):
            notify.delete_automation(client, recipe)
    return [entry.name for entry in removed]


def list_deployed(client: SyncPrefectClient) -> list[DeploymentInfo]:
    """List what cubecast has deployed, by recipe, and when each runs next."""
    tagged = DeploymentFilter.model_validate({"tags": {"all_": [POOL]}})
    flows = {flow.id: flow.name for flow in client.read_flows()}
    found = [
        _describe(client, entry, flows[entry.flow_id])
        for entry in client.read_deployments(deployment_filter=tagged)
    ]
    return sorted(found, key=lambda entry: (entry.recipe, entry.name))


def describe_deployed(found: Sequence[DeploymentInfo]) -> list[str]:
    """Write a line for every deployment, below its recipe."""
    name_width = max((len(entry.name) for entry in found), default=0)
    cron_width = max((len(entry.cron or "") for entry in found), default=0)
    lines = []
    for recipe, group in groupby(found, key=lambda entry: entry.recipe):
        lines.append(f"recipe {recipe}")
        lines += [
            f"  {entry.name:<{name_width}}  {entry.cron or '':<{cron_width}}  "
            f"{entry.next_runs_text}"
            for entry in group
        ]
    return lines


def _describe(
    client: SyncPrefectClient, found: DeploymentResponse, flow: str
) -> DeploymentInfo:
    recipe = next(
        (t.removeprefix(RECIPE_TAG) for t in found.tags if t.startswith(RECIPE_TAG)), ""
    )
    crons = [entry for entry in found.schedules if isinstance(entry.schedule, CronSchedule)]
    schedule = crons[0].schedule if crons else None
    assert schedule is None or isinstance(schedule, CronSchedule)
    return DeploymentInfo(
        id=found.id,
        flow=flow,
        deployment=found.name,
        recipe=recipe,
        path=absolute_recipe(str(found.parameters.get("recipe", ""))),
        cron=schedule.cron if schedule else None,
        timezone=(schedule.timezone if schedule else None) or "UTC",
        paused=found.paused or bool(crons and not crons[0].active),
        next_runs=_next_runs(client, found.id),
    )


def _next_runs(client: SyncPrefectClient, deployment_id: UUID) -> tuple[datetime, ...]:
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter.model_validate(
            {
                "deployment_id": {"any_": [str(deployment_id)]},
                "state": {"type": {"any_": ["SCHEDULED"]}},
            }
        ),
        sort=FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC,
        limit=_N_NEXT_RUNS,
    )
    times = (run.next_scheduled_start_time for run in runs)
    return tuple(time for time in times if time is not None)
