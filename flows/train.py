"""Flow: train a model on the cube."""

from __future__ import annotations

import logging

from prefect import flow

from flows.asked import open_cube, open_recipe
from flows.naming import run_name
from flows.runtime import spread_on
from flows.steps import model
from stores.lease import lease

log = logging.getLogger(__name__)

_WAIT_S = 24 * 3600.0  # another training of the same recipe


@flow(name="train", flow_run_name=run_name, persist_result=False)
def train(recipe: str, overrides: list[str] | None = None, root: str | None = None) -> str:
    """Train the recipe's network and keep the best epoch as the current bundle.

    A training that was killed goes on where it was, and gives the same bundle.

    Returns:
        The folder of the bundle.
    """
    asked = open_recipe(recipe, overrides, root)
    open_cube(asked)  # refuses before anything is written
    alone = lease(asked.root, f"train-{asked.name}", wait_s=_WAIT_S)
    with alone, spread_on(asked.compute) as spread:
        bundle = model.train_model(asked, spread)
    model.show_model(bundle)
    training = bundle.description["training"]
    log.info("bundle %s: best of %d epochs", bundle.path, training["epochs"])
    return str(bundle.path)
