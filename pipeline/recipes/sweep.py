"""Which combinations of values a sweep tries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from pipeline.recipes.load import RecipeError
from pipeline.recipes.strict_yaml import StrictYamlError, split_yaml_values

# All combinations learn from one cube, and their bundles bear one name.
_NOT_SWEPT = ("name", "root", "archive", "grid")
FOLD = "split.fold"
"""Key whose values are no alternatives: what is judged is the mean over them."""


@dataclass(frozen=True, slots=True)
class Combination:
    """One value for every swept key."""

    values: tuple[tuple[str, str], ...]
    """Keys with values as they were written, in YAML."""

    @property
    def overrides(self) -> list[str]:
        """Return the overrides as ``load_recipe`` takes them."""
        return [f"{key}={value}" for key, value in self.values]

    @property
    def without_fold(self) -> Combination:
        """Return what is the same in every fold."""
        return Combination(tuple(pair for pair in self.values if pair[0] != FOLD))

    def __str__(self) -> str:
        return " ".join(self.overrides)


def group_folds(combinations: Sequence[Combination]) -> dict[Combination, list[Combination]]:
    """Gather the combinations that differ in the fold alone, by what they share."""
    groups: dict[Combination, list[Combination]] = {}
    for combination in combinations:
        groups.setdefault(combination.without_fold, []).append(combination)
    return groups


def plan_sweep(
    requested_axes: Sequence[str], overrides: Sequence[str] = ()
) -> list[Combination]:
    """List every combination of the values of all keys; the last key changes fastest.

    Args:
        requested_axes: ``key=value,value``, with values in YAML, as in
            ``model.hidden=[8],[16,16]``.
        overrides: what is changed for all of them.

    Raises:
        RecipeError: a key cannot be swept, or stands twice.
    """
    axes = [_parse(text) for text in requested_axes]
    keys = [key for key, _ in axes]
    taken = [*keys, *(text.partition("=")[0].strip() for text in overrides)]
    for key in keys:
        if taken.count(key) > 1:
            raise RecipeError(
                f"--sweep {key} is given a value elsewhere too, so one of them would have no "
                "effect; write all its values in one --sweep"
            )
        if key.split(".")[0] in _NOT_SWEPT:
            raise RecipeError(
                f"--sweep {key} would need another cube or give other names, but a sweep "
                "compares models of one cube; run cubecast train for each"
            )
    if not axes or math.prod(len(values) for _, values in axes) < 2:
        raise RecipeError(
            f"--sweep {' '.join(requested_axes)} is a single combination, so there is nothing "
            "to compare; write e.g. --sweep training.lr=1e-3,3e-4"
        )
    return [
        Combination(tuple(zip(keys, values, strict=True)))
        for values in product(*(values for _, values in axes))
    ]


def _parse(text: str) -> tuple[str, list[str]]:
    key, equals, written = text.partition("=")
    try:
        values = split_yaml_values(written)
    except StrictYamlError as error:
        raise RecipeError(f"--sweep {text!r} is not plain YAML: {error}") from None
    if not equals or not key.strip() or not values:
        raise RecipeError(
            f"--sweep {text!r} is not key=value,value; write e.g. training.lr=1e-3,3e-4"
        )
    return key.strip(), values
