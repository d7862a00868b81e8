"""What a recipe finds in its store: the cube, the bundles, and what a clean-up keeps."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from odc.geo.geobox import GeoBox

from flows.paths import cube_path, models_path
from pipeline.recipes import Recipe
from stores.bundle import Bundle, bundle_folder, open_bundle, open_current_bundle
from stores.cube import Cube
from stores.errors import CorruptError
from stores.grid import build_grid, check_latitudes, check_same_grid, read_grid
from stores.names import resolve_under
from stores.retention import DAY_S, RetentionPolicy

log = logging.getLogger(__name__)


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
    reference = recipe.grid.like
    if reference is None or resolve_under(recipe.archive.root, reference).exists():
        way_out = f"another recipe made it: choose another root than {recipe.root} with --root"
        check_same_grid(resolve_grid(recipe), cube.grid, what="the recipe's grid", hint=way_out)


def needs_ingest(recipe: Recipe) -> bool:
    """Check whether the cube lacks what the recipe names, or is not there."""
    path = cube_path(recipe)
    return not path.exists() or not set(recipe.archive.variables) <= set(
        Cube.open(path).variables
    )


def resolve_grid(recipe: Recipe) -> GeoBox:
    """Return the grid that the recipe states, or that of its reference raster."""
    grid_recipe = recipe.grid
    if grid_recipe.like is not None:
        reference = resolve_under(recipe.archive.root, grid_recipe.like)
        return read_grid(reference, named=f"grid.like={grid_recipe.like!r}")  # it may be a link
    assert grid_recipe.crs is not None  # the recipe has one or the other
    assert grid_recipe.transform is not None
    assert grid_recipe.shape is not None
    grid = build_grid(grid_recipe.crs, list(grid_recipe.transform), grid_recipe.shape)
    check_latitudes(grid)
    return grid


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


def retention_policy(recipe: Recipe) -> RetentionPolicy:
    """Build the policy of what stays of a recipe's store when it is cleaned."""
    keep = recipe.outputs.keep
    return RetentionPolicy(
        min_age_s=keep.days * DAY_S,
        revisions=keep.revisions,
        bundles=keep.bundles,
        recipe=recipe.name,
        pinned_bundles=frozenset(recipe.rollout.bundles),
    )
