"""Where below its root a recipe keeps its cube, models, trainings and scores."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.recipes import Recipe
from stores.bundle import MODELS
from stores.cube import CUBE

_LABEL_LENGTH = 80  # a file's name has 255 characters at most


def cube_path(recipe: Recipe) -> Path:
    """Return the path of the cube of a recipe."""
    return recipe.root / CUBE


def models_path(recipe: Recipe) -> Path:
    """Return the folder of the recipe's bundles."""
    return recipe.root / MODELS


def training_path(recipe: Recipe, label: str = "") -> Path:
    """Return the folder of the curves and the state of a recipe's last training.

    One of several trainings has a label, and keeps the folder that it was first given.
    """
    folder = recipe.root / "training"
    if not label:
        return folder / recipe.name
    slug = re.sub(r"[^a-zA-Z0-9_.=-]+", "_", label)[:_LABEL_LENGTH]
    existing = find_training_path(recipe)
    return existing or folder / f"{recipe.name}+{slug}-{recipe.fingerprint()[:8]}"


def find_training_path(recipe: Recipe) -> Path | None:
    """Find the folder of a training that was begun as one of several, under whatever label."""
    name = f"{recipe.name}+*-{recipe.fingerprint()[:8]}"  # '+' stands in no recipe's name
    return next(iter(sorted((recipe.root / "training").glob(name))), None)


def scores_path(recipe: Recipe, bundle: Path) -> Path:
    """Return the folder of a bundle's scores."""
    return recipe.root / "scores" / bundle.name
