"""Steps from a cube to a bundle."""

from __future__ import annotations

from pathlib import Path

from flows.artifacts import ProgressPage, leave_link
from flows.asked import cube_of, models_of
from flows.console import progress_bar
from flows.steps.step import step
from pipeline.recipes import Recipe
from pipeline.spread import Spread
from pipeline.training.bundle import CURVES, train_bundle
from stores.bundle import Bundle


@step
def train_model(recipe: Recipe, spread: Spread) -> Bundle:
    """Fit, train and publish; curves stay in ``training/`` below the root.

    Killed and started again, it goes on from the state that it keeps there.
    """
    folders = models_of(recipe), logs_of(recipe)
    page = ProgressPage("training", f"Epochs of {recipe.name}")
    with progress_bar("training") as bar:

        def tell(done: float, total: float, note: str) -> None:
            bar(done, total, note)
            page.tell(done, total)

        return train_bundle(recipe, cube_of(recipe), folders, spread=spread, tell=tell)


def show_model(bundle: Bundle) -> None:
    """Leave a link to the training curves."""
    leave_link(
        "curves", bundle.path / f"{CURVES}.png", description=f"Training of {bundle.path}"
    )


def logs_of(recipe: Recipe) -> Path:
    """Name the folder of the curves and the state of a recipe's last training."""
    return recipe.root / "training" / recipe.name
