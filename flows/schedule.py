"""What is deployed: the flows of several recipes, filled into deploy/prefect.yaml."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from flows.options import DEFAULT_RECIPE, SET, last_changes
from flows.resolve import default_root, find_recipe, open_recipe
from pipeline.recipes import Recipe, RecipeError
from pipeline.recipes.schedule import name_cadence
from stores.files import write_text

POOL = "cubecast"
RECIPE_TAG = "recipe:"

_FOLDERS = ("root", "archive.root")  # overrides that hold a path

Paused = Collection[tuple[str, str]]
"""Recipe and flow of each deployment whose schedule somebody has paused."""


@dataclass(frozen=True, slots=True)
class DeployedRecipe:
    """A recipe, and what every run of it is given."""

    recipe: Recipe
    parameters: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name that tells it from the others of a server."""
        return self.recipe.name

    def deployment_name(self, flow: str, *, is_unsuffixed: bool) -> str:
        """Name a deployment by its cadence; of all but the first product by the recipe too."""
        cadence = name_cadence(self.recipe.schedule.cron_by_flow(self.recipe.step)[flow])
        return cadence if is_unsuffixed else f"{cadence}-{self.name}"

    def deployment_names(self, *, first: bool) -> list[str]:
        """List all deployments as ``prefect deployment run`` takes them."""
        crons = self.recipe.schedule.cron_by_flow(self.recipe.step)
        return [f"{flow}/{self.deployment_name(flow, is_unsuffixed=first)}" for flow in crons]


@dataclass(frozen=True, slots=True)
class DeployRequest:
    """Recipes to deploy, and what the caller changes in each of them."""

    recipes: tuple[str, ...] = (DEFAULT_RECIPE,)
    overrides: tuple[str, ...] = ()
    root: Path | None = None

    def products(self) -> list[DeployedRecipe]:
        """Read and check every recipe as its runs will; one that is named twice is one.

        Raises:
            RecipeError: one is refused, or two have one name.
        """
        recipes = dict.fromkeys(map(absolute_recipe, self.recipes))
        products = [self._product(recipe) for recipe in recipes]
        names = [product.name for product in products]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise RecipeError(
                f"name={twice[0]!r} is that of {names.count(twice[0])} recipes, so one would "
                "replace the other; give each a name of its own"
            )
        return products

    def _product(self, recipe: str) -> DeployedRecipe:
        """Runs start in another folder, so every path is absolute."""
        folder = self._root_of(recipe)
        root = None if folder is None else str(folder.absolute())
        overrides = [_absolute_override(text) for text in self.overrides]
        usual = open_recipe(recipe, overrides, root).schedule.overrides
        changes = [*usual, *overrides]
        parameters = {"recipe": recipe, "overrides": changes, "root": root}
        return DeployedRecipe(open_recipe(recipe, changes, root), parameters)

    def _root_of(self, recipe: str) -> Path | None:
        """Choose the folder that runs write to; None where the recipe or an override says."""
        if any(text.startswith("root=") for text in self.overrides):
            return self.root
        return self.root or default_root(find_recipe(recipe))

    def arguments(self) -> list[str]:
        """Spell the request as it is given to ``cubecast up``."""
        sets = [word for text in last_changes(self.overrides) for word in (SET, text)]
        root = [] if self.root is None else ["--root", str(self.root)]
        return [*self.recipes, *sets, *root]


def write_deployments(
    products: Sequence[DeployedRecipe], target: Path, *, first: str, paused: Paused = ()
) -> None:
    """Write deploy/prefect.yaml for several products.

    Args:
        products: what is deployed.
        target: file that is written.
        first: name of the product whose deployments are named by their cadence alone.
        paused: what stays paused.
    """
    written = yaml.safe_load(files("deploy").joinpath("prefect.yaml").read_text())
    written["deployments"] = [
        _fill_deployment(stated, product, first=product.name == first, paused=paused)
        for product in products
        for stated in written["deployments"]
    ]
    write_text(target, yaml.dump(written, Dumper=_NoAliasDumper, sort_keys=False))


class _NoAliasDumper(yaml.SafeDumper):
    """Write what stands twice twice, so that each deployment is read alone."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _fill_deployment(
    stated: Mapping[str, Any], product: DeployedRecipe, *, first: bool, paused: Paused
) -> dict[str, Any]:
    """Put a product into one deployment of the template, which is named by its flow."""
    flow = stated["name"]
    schedule = product.recipe.schedule
    cron = schedule.cron_by_flow(product.recipe.step)[flow]
    is_paused = (product.name, flow) in paused
    line = {"cron": cron, "timezone": schedule.timezone, "active": not is_paused}
    return dict(stated) | {
        "name": product.deployment_name(flow, is_unsuffixed=first),
        "description": f"{product.recipe.title or product.name}: {stated['description']}",
        "tags": [POOL, f"{RECIPE_TAG}{product.name}"],
        "parameters": {**product.parameters, **stated["parameters"]},
        "schedules": [line] if cron else [],
        "paused": is_paused,
    }


def apply_deployments(deployments: Path, environment: dict[str, str]) -> None:
    """Apply a deployment file to the server that ``environment`` names.

    In another process, since Prefect imports every flow and so all that computes.

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


def absolute_recipe(recipe: str) -> str:
    """Spell a recipe in one way; a link keeps its own name, since its root lies beside it."""
    path = Path(recipe)
    is_file = path.suffix in {".yaml", ".yml"}
    return str(path.parent.resolve() / path.name) if is_file else recipe


def _absolute_override(text: str) -> str:
    key, _, value = text.partition("=")
    return f"{key}={Path(value).expanduser().absolute()}" if key in _FOLDERS else text
