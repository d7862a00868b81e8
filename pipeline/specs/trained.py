"""What a bundle learned from, beside what a recipe says today."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.limits import MAX_STEPS
from pipeline.models import Reach, StepSpec, build_meta_network, parse_network_spec
from pipeline.recipes import Recipe, SplitRecipe, resolve_split
from pipeline.registry import explaining_version
from pipeline.streams.input_stack import InputStack
from stores.bundle import Bundle, bundle_folder, open_bundle
from stores.cube import Cube
from stores.grid import from_json
from stores.times import Step
from stores.weights import check_weights

_SPLIT = ("train", "validation", "folds", "fold", "place")
"""Keys of the split that say what was learned from."""
_TARGET = ("variable", "transform", "harmonics")
_OF_MODEL = ("training", "model", "covariates", "domain", "rollout.history", "target.transform")


def open_further(recipe: Recipe, first: Bundle) -> list[Bundle]:
    """Open the bundles that a recipe names beside the first, which lies beside them.

    Raises:
        UnknownOptionError: another version wrote one, and says more than this one knows.
    """
    further = [
        open_bundle(bundle_folder(first.path.parent, name)) for name in recipe.rollout.bundles
    ]
    for bundle in further:
        check_readable(bundle)
    return further


def check_readable(bundle: Bundle) -> None:
    """Refuse a bundle that says what this version does not know, before it is used.

    Raises:
        UnknownOptionError: names the word, and the version that wrote it.
        CorruptError: its weights are not those of its network.
    """
    description = bundle.description
    with explaining_version(f"bundle {bundle.path.name}", _writer_version(description)):
        stack = InputStack.from_json(description["stack"])
        network = build_meta_network(parse_network_spec(description["network"]))
        _ = description["stack"]["target"]["variable"]
        _check_channels(stack.names, network.shape.channels)
        _check_span(StepSpec(**description["reading"]))
        Reach(**description["reach"]).radius(1)
        from_json(description["grid"])
        Step.parse(description["step"])
        recipe = description["recipe"]
        for split in (description["split"], recipe["split"]):
            SplitRecipe.model_validate(split)
        _ = [recipe["target"][key] for key in _TARGET]
        variable = recipe["archive"]["variables"][recipe["target"]["variable"]]
        _ = [variable[key] for key in ("units", "long_name")]
    expected = {
        name: (tuple(weight.shape), str(weight.dtype).removeprefix("torch."))
        for name, weight in network.state_dict().items()
    }
    check_weights(bundle.path, expected)


def _check_channels(names: Sequence[str], n: int) -> None:
    if len(names) != n:
        raise ValueError(f"channels {', '.join(names)} for a network of {n}")


def _check_span(reading: StepSpec) -> None:
    """Refuse numbers of frames that are none, such as 1.5 or more than any recipe has."""
    sizes = (reading.history, reading.emits, reading.ahead, reading.first_lead)
    if any(type(n) is not int or n > MAX_STEPS for n in sizes):
        raise ValueError(f"reading {sizes} is not of 0 to {MAX_STEPS} whole frames")


def _writer_version(description: Mapping[str, Any]) -> str:
    versions = description.get("versions")
    return str(versions.get("cubecast")) if isinstance(versions, Mapping) else "(unknown)"


def with_trained_dates(recipe: Recipe, bundle: Bundle, cube: Cube) -> Recipe:
    """Return the recipe with the dates that the bundle learned by.

    Ends that count from the newest frame move on with the cube; the bundle does not. So what
    is written as it was then keeps its dates, and what is written otherwise is dated today.
    """
    split = recipe.split
    written, trained = (
        SplitRecipe.model_validate(known)
        for known in (bundle.description["split"], bundle.description["recipe"]["split"])
    )
    dates = resolve_split(split, recipe.step, cube.step_times(recipe.target.variable)[-1])
    kept = {
        part: getattr(trained, part)
        for part in split.parts
        if getattr(written, part) == getattr(split.unresolved, part)
    }
    return recipe.model_copy(update={"split": dates.with_dates(kept)})


def list_differences(recipe: Recipe, bundle: Bundle) -> list[str]:
    """List what a bundle learned otherwise than a dated recipe says: split, target, history."""
    learned: dict[str, Any] = bundle.description["recipe"]["target"]
    stated = recipe.target.model_dump(mode="json")
    found = _split_differences(recipe, bundle)
    found += [f"target.{key}={learned[key]}" for key in _TARGET if learned[key] != stated[key]]
    history = bundle.description["reading"]["history"]
    return found + ([f"rollout.history={history}"] * (history != recipe.rollout.history))


def list_unused_overrides(
    recipe: Recipe, bundle: Bundle, overrides: Sequence[str]
) -> list[str]:
    """List the overrides that ask for another model than this one, which do nothing to it."""
    learned = bundle.description["recipe"]
    stated = recipe.model_dump(mode="json")
    keys = {text.partition("=")[0].strip(): text for text in overrides}
    return [
        text
        for key, text in keys.items()
        if key.startswith(_OF_MODEL)
        and _differs(_get_nested(stated, key), _get_nested(learned, key))
    ]


def _get_nested(root: Any, key: str) -> Any:
    """Find what stands under ``key.key``; None where nothing does."""
    node = root
    for part in key.split("."):
        if isinstance(node, list):
            node = node[int(part)] if int(part) < len(node) else None
        else:
            node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _differs(stated: Any, learned: Any) -> bool:
    """Compare what both know; some keys change no number, and a bundle leaves them out."""
    if isinstance(stated, Mapping) and isinstance(learned, Mapping):
        return any(
            _differs(stated[key], learned[key]) for key in stated.keys() & learned.keys()
        )
    return learned is not None and stated != learned


def check_matches_recipe(recipe: Recipe, bundle: Bundle) -> None:
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


def check_split(recipe: Recipe, bundle: Bundle, step: Step) -> None:
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
    recipe.split.to_split().check_leaks(step)


def _split_differences(recipe: Recipe, bundle: Bundle) -> list[str]:
    written = SplitRecipe.model_validate(bundle.description["recipe"]["split"])
    trained, now = (split.model_dump(mode="json") for split in (written, recipe.split))
    return [f"split.{key}={trained[key]}" for key in _SPLIT if trained[key] != now[key]]
