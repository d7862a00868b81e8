"""What a bundle learned from, beside what a recipe says today."""

from __future__ import annotations

from typing import Any

from pipeline.models import Reach, Reading, read_shape
from pipeline.recipes import Recipe, SplitRecipe, resolve_split
from pipeline.streams.stack import Stack
from pipeline.words import written_by
from stores.bundle import Bundle
from stores.cube import Cube

_SPLIT = ("train", "validation", "folds", "fold", "place")
"""Keys of the split that say what was learned from."""
_TARGET = ("variable", "transform", "harmonics")


def check_known(bundle: Bundle) -> None:
    """Refuse a bundle that says what this version does not know, before it is used.

    Raises:
        UnknownWordError: names the word, and the version that wrote it.
    """
    said = bundle.description
    with written_by(f"bundle {bundle.path.name}", said["versions"]["cubecast"]):
        Stack.from_json(said["stack"])
        read_shape(said["network"])
        Reading(**said["reading"])
        Reach(**said["reach"])


def date_as_trained(recipe: Recipe, bundle: Bundle, cube: Cube) -> Recipe:
    """Return the recipe with the dates that the bundle learned by.

    Ends that count from the newest frame move on with the cube; the bundle does not. So what
    is written as it was then keeps its dates, and what is written otherwise is dated today.
    """
    split = recipe.split
    written, trained = (
        SplitRecipe.model_validate(known)
        for known in (bundle.description["split"], bundle.description["recipe"]["split"])
    )
    dates = resolve_split(split, recipe.step, cube.times_of(recipe.target.variable)[-1])
    kept = {
        part: getattr(trained, part)
        for part in split.parts
        if getattr(written, part) == getattr(split.written, part)
    }
    return recipe.model_copy(update={"split": dates.with_dates(kept)})


def list_differences(recipe: Recipe, bundle: Bundle) -> list[str]:
    """Name what a bundle learned otherwise than a dated recipe says: split, target, history."""
    learned: dict[str, Any] = bundle.description["recipe"]["target"]
    asked = recipe.target.model_dump(mode="json")
    found = _split_differences(recipe, bundle)
    found += [f"target.{key}={learned[key]}" for key in _TARGET if learned[key] != asked[key]]
    history = bundle.description["reading"]["history"]
    return found + ([f"rollout.history={history}"] * (history != recipe.rollout.history))


def check_as_written(recipe: Recipe, bundle: Bundle) -> None:
    """Refuse to forecast with a model that a dated recipe does not describe.

    Raises:
        ValueError: it learned from other frames or pixels, or reads otherwise.
    """
    changed = list_differences(recipe, bundle)
    if changed:
        name = bundle.path.name
        raise ValueError(
            f"{name} was trained with {', '.join(changed)}, and the recipe says otherwise, so "
            "the forecast would not be what the recipe describes; train again, --set the "
            f"recipe to these, or choose this very model: --bundle {name}"
        )


def check_split(recipe: Recipe, bundle: Bundle) -> None:
    """Refuse to score a model on what it may have learned, with the parts of a dated recipe.

    Raises:
        ValueError: it was trained on other frames or pixels than the recipe says, or the part
            that is scored holds some of them.
    """
    changed = _split_differences(recipe, bundle)
    if changed:
        raise ValueError(
            f"{bundle.path.name} was trained with {', '.join(changed)}, and the recipe says "
            "otherwise, so it could be scored on what it learned; --set the recipe to these or "
            "train again"
        )
    recipe.split.check(recipe.step)


def _split_differences(recipe: Recipe, bundle: Bundle) -> list[str]:
    written = SplitRecipe.model_validate(bundle.description["recipe"]["split"])
    trained, now = (split.model_dump(mode="json") for split in (written, recipe.split))
    return [f"split.{key}={trained[key]}" for key in _SPLIT if trained[key] != now[key]]
