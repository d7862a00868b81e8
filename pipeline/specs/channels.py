"""From a recipe to the channels of a network, and to what is fitted for them."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.recipes import DerivedCovariate, Recipe, StaticCovariate, StepCovariate
from pipeline.registry import look_up
from pipeline.streams.input_stack import ForcingSpec, InputStack, StaticSpec, VariableSpec
from pipeline.streams.spec import DomainSpec, FitSpec

_DERIVED: Mapping[str, ForcingSpec | StaticSpec] = {
    "season": ForcingSpec("season"),
    "lonlat": StaticSpec(),
}


def build_fit_spec(recipe: Recipe) -> FitSpec:
    """Build the channels of a recipe, and what is fitted for them on the training part."""
    transforms = _list_transforms(recipe)
    return FitSpec(
        stack=_build_stack(recipe),
        transforms=transforms,
        units={name: recipe.archive.variables[name].units for name in transforms},
        split=recipe.split.to_split(),
        domain=DomainSpec(recipe.domain.variable, recipe.domain.above),
        harmonics=recipe.target.harmonics,
    )


def _build_stack(recipe: Recipe) -> InputStack:
    """Order the recipe's channels; nothing is fitted yet."""
    forcings: list[ForcingSpec] = []
    statics: list[StaticSpec] = []
    for covariate in recipe.covariates:
        if isinstance(covariate, DerivedCovariate):
            derived = look_up(_DERIVED, covariate.of, "derived covariate")
            forcings += [derived] if isinstance(derived, ForcingSpec) else []
            statics += [derived] if isinstance(derived, StaticSpec) else []
            continue
        series = VariableSpec(covariate.variable)
        if isinstance(covariate, StaticCovariate):
            statics.append(StaticSpec(series))
        else:
            forcings.append(
                ForcingSpec(covariate.kind, series, covariate.future, covariate.delay)
            )
    return InputStack(VariableSpec(recipe.target.variable), tuple(forcings), tuple(statics))


def _list_transforms(recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """List the variables to fit and the transforms each asks for."""
    transforms: dict[str, tuple[str, ...]] = {recipe.target.variable: recipe.target.transform}
    for covariate in recipe.covariates:
        if isinstance(covariate, StepCovariate):
            transforms[covariate.variable] = covariate.transform
        elif not isinstance(covariate, DerivedCovariate):
            transforms[covariate.variable] = ("zscore",)
    return transforms
