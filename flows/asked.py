"""What a recipe asks for, and where it lies."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from odc.geo.geobox import GeoBox

from flows.resolve import open_recipe
from pipeline.recipes import Recipe
from stores.bundle import MODELS, Bundle, bundle_folder, open_bundle, open_current_bundle
from stores.cube import CUBE, Cube
from stores.errors import CorruptError
from stores.grid import build_grid, check_latitudes, check_same_grid, read_grid
from stores.names import resolve_under
from stores.retention import DAY_S, RetentionPolicy

log = logging.getLogger(__name__)

_LABEL_LENGTH = 80  # a file's name has 255 characters at most


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """One training of several: what a flow is given, and how a person calls it."""

    recipe: str
    overrides: tuple[str, ...]
    root: str | None
    label: str

    def open(self) -> Recipe:
        """Read and check the recipe."""
        return open_recipe(self.recipe, self.overrides, self.root)

    def per_seed(self) -> list[TrainingRequest]:
        """List the trainings of all seeds that the recipe asks for."""
        training = self.open().training
        return [self._with_seed(training.seed + run) for run in range(training.runs)]

    def _with_seed(self, seed: int) -> TrainingRequest:
        overrides = (*self.overrides, f"training.seed={seed}", "training.runs=1")
        label = f"{self.label} seed={seed}".strip()
        return TrainingRequest(self.recipe, overrides, self.root, label)


def cube_path(recipe: Recipe) -> Path:
    """Name the cube of a recipe."""
    return recipe.root / CUBE


def models_path(recipe: Recipe) -> Path:
    """Name the folder of the recipe's bundles."""
    return recipe.root / MODELS


def find_bundle(recipe: Recipe, name: str | None) -> Bundle:
    """Open a bundle by the name of its folder, or the one that was trained last.

    Raises:
        UnknownOptionError: another version wrote it, and says more than this one knows.
    """
    from pipeline.specs.trained import check_readable  # torch, which an ingest never needs

    models = models_path(recipe)
    bundle = (
        open_current_bundle(models, recipe.name)
        if name is None
        else open_bundle(bundle_folder(models, name))
    )
    check_readable(bundle)
    return bundle


def warn_unused_overrides(
    recipe: Recipe, bundle: Bundle, overrides: Sequence[str] | None
) -> None:
    """Warn of overrides that a model cannot follow, because it is trained already."""
    from pipeline.specs.trained import list_unused_overrides  # as above

    unused = list_unused_overrides(recipe, bundle, overrides or ())
    if unused:
        log.warning(
            "%s has no effect here, because %s was trained otherwise; train again with it",
            " and ".join(unused),
            bundle.path.name,
        )


def training_path(recipe: Recipe, label: str = "") -> Path:
    """Name the folder of the curves and the state of a recipe's last training.

    One of several trainings has a label, and keeps the folder that it was first given.
    """
    folder = recipe.root / "training"
    if not label:
        return folder / recipe.name
    plain = re.sub(r"[^a-zA-Z0-9_.=-]+", "_", label)[:_LABEL_LENGTH]
    begun = find_training_path(recipe)
    return begun or folder / f"{recipe.name}+{plain}-{recipe.fingerprint()[:8]}"


def find_training_path(recipe: Recipe) -> Path | None:
    """Find the folder of a training that was begun as one of several, under whatever label."""
    name = f"{recipe.name}+*-{recipe.fingerprint()[:8]}"  # '+' stands in no recipe's name
    return next(iter(sorted((recipe.root / "training").glob(name))), None)


def scores_path(recipe: Recipe, bundle: Path) -> Path:
    """Name the folder of a bundle's scores."""
    return recipe.root / "scores" / bundle.name


def retention_policy(recipe: Recipe) -> RetentionPolicy:
    """Say what stays of a recipe's store when it is cleaned."""
    keep = recipe.outputs.keep
    return RetentionPolicy(
        min_age_s=keep.days * DAY_S,
        revisions=keep.revisions,
        bundles=keep.bundles,
        recipe=recipe.name,
        pinned_bundles=frozenset(recipe.rollout.bundles),
    )


def open_cube(recipe: Recipe) -> Cube:
    """Open the cube of a recipe.

    Raises:
        CorruptError: nothing was ingested yet.
    """
    path = cube_path(recipe)
    if not path.exists():
        raise CorruptError(
            f"{path} does not exist, so there is nothing to learn or to forecast from; "
            "ingest the archive first: cubecast ingest RECIPE"
        )
    cube = Cube.open(path)
    _check_cube_matches(recipe, cube)
    return cube


def _check_cube_matches(recipe: Recipe, cube: Cube) -> None:
    """Refuse the cube of another recipe on the same root, unless it is this one's too.

    Raises:
        GridError: it lies on another grid.
        ValueError: it has another step, or lacks variables.
    """
    if recipe.step != cube.step:
        raise ValueError(
            f"cube {cube.path} has a frame every {cube.step}, but the recipe one every "
            f"{recipe.step}; another recipe made it: choose a root of your own with --root"
        )
    lacking = sorted(set(recipe.archive.variables) - set(cube.variables))
    if lacking:
        raise ValueError(
            f"cube {cube.path} lacks {', '.join(lacking)}, so the recipe cannot read them; "
            "ingest them beside what is there: cubecast ingest RECIPE"
        )
    like = recipe.grid.like
    if like is None or resolve_under(recipe.archive.root, like).exists():
        way_out = f"another recipe made it: choose another root than {recipe.root} with --root"
        check_same_grid(resolve_grid(recipe), cube.grid, what="the recipe's grid", hint=way_out)


def needs_ingest(recipe: Recipe) -> bool:
    """Tell whether the cube lacks what the recipe names, or is not there."""
    path = cube_path(recipe)
    return not path.exists() or not set(recipe.archive.variables) <= set(
        Cube.open(path).variables
    )


def resolve_grid(recipe: Recipe) -> GeoBox:
    """Take the grid that the recipe states, or that of its reference raster."""
    stated = recipe.grid
    if stated.like is not None:
        reference = resolve_under(recipe.archive.root, stated.like)
        return read_grid(reference, named=f"grid.like={stated.like!r}")  # it may be a link
    assert stated.crs is not None  # the recipe has one or the other
    assert stated.transform is not None
    assert stated.shape is not None
    grid = build_grid(stated.crs, list(stated.transform), stated.shape)
    check_latitudes(grid)
    return grid
