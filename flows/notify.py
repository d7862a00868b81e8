"""Who is told when a run of a recipe fails: one automation of the server for each recipe."""

from __future__ import annotations

import logging
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound

from flows.schedule import RECIPE_TAG, DeployedRecipe

log = logging.getLogger(__name__)

_STATES = ("Failed", "Crashed", "TimedOut")
_SUBJECT = "{{ flow_run.name }}: {{ flow_run.state.name }}"
_BODY = "{{ flow_run.state.message }}\n{{ flow_run|ui_url }}"


def find_block(client: SyncPrefectClient, product: DeployedRecipe) -> UUID | None:
    """Find the block through which a recipe's failures are told; None where there is none.

    A new server has no blocks yet, so a missing one is a warning.
    """
    named = product.recipe.schedule.notify
    if named is None:
        return None
    block_type, name = named.split("/")
    try:
        found = client.read_block_document_by_name(name, block_type, include_secrets=False)
    except ObjectNotFound:
        log.warning(
            "schedule.notify=%r is no block of the server, so nobody is told of a failed run "
            "of %s; make it in the server's pages (Blocks), then 'cubecast deploy' again",
            *(named, product.name),
        )
        return None
    return found.id


def create_failure_automation(
    client: SyncPrefectClient, recipe: str, block: UUID | None
) -> None:
    """Let the server tell through a block when a run of a recipe fails, and no other way."""
    delete_automation(client, recipe)
    if block is None:
        return
    trigger = EventTrigger(
        expect={f"prefect.flow-run.{state}" for state in _STATES},
        match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
        match_related=ResourceSpecification(
            {
                "prefect.resource.id": f"prefect.tag.{RECIPE_TAG}{recipe}",
                "prefect.resource.role": "tag",
            }
        ),
        for_each={"prefect.resource.id"},
        posture=Posture.Reactive,
        threshold=1,
    )
    notification = SendNotification(block_document_id=block, subject=_SUBJECT, body=_BODY)
    automation = AutomationCore(
        name=_name(recipe),
        description=f"Runs of recipe {recipe} that end badly",
        trigger=trigger,
        actions=[notification],
    )
    client.create_automation(automation)


def delete_automation(client: SyncPrefectClient, recipe: str) -> None:
    """Let the server tell nobody of a recipe."""
    for automation in client.read_automations_by_name(_name(recipe)):
        client.delete_automation(automation.id)


def _name(recipe: str) -> str:
    return f"cubecast: failed runs of {recipe}"
