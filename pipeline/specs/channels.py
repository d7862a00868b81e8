"""From a recipe to the channels of a network, and to what is fitted for them."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.recipes import DerivedCovariate, Recipe, StaticCovariate, StepCovariate
from pipeline.streams.spec import DomainSpec, FitSpec
from pipeline.streams.stack import Forcing, Series, Stack, Static
from pipeline.words import look_up

_DERIVED: Mapping[str, Forcing | Static] = {"season": Forcing("season"), "lonlat": Static()}


def build_fit_spec(recipe: Recipe) -> FitSpec:
    """Say which channels there are, and what is fitted for them on the training part."""
    transforms = _list_transforms(recipe)
    return FitSpec(
        stack=_build_stack(recipe),
        transforms=transforms,
        units={name: recipe.archive.variables[name].units for name in transforms},
        split=recipe.split.to_split(),
        domain=DomainSpec(recipe.domain.variable, recipe.domain.above),
        harmonics=recipe.target.harmonics,
    )


def _build_stack(recipe: Recipe) -> Stack:
    """Order the recipe's channels; nothing is fitted yet."""
    forcings: list[Forcing] = []
    statics: list[Static] = []
    for covariate in recipe.covariates:
        if isinstance(covariate, DerivedCovariate):
            derived = look_up(_DERIVED, covariate.of, "derived covariate")
            forcings += [derived] if isinstance(derived, Forcing) else []
            statics += [derived] if isinstance(derived, Static) else []
            continue
        series = Series(covariate.variable)
        if isinstance(covariate, StaticCovariate):
            statics.append(Static(series))
        else:
            forcings.append(Forcing(covariate.kind, series, covariate.future, covariate.delay))
    return Stack(Series(recipe.target.variable), tuple(forcings), tuple(statics))


def _list_transforms(recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """List the variables to fit and the transforms each asks for."""
    wanted: dict[str, tuple[str, ...]] = {recipe.target.variable: recipe.target.transform}
    for covariate in recipe.covariates:
        if isinstance(covariate, StepCovariate):
            wanted[covariate.variable] = covariate.transform
        elif not isinstance(covariate, DerivedCovariate):
            wanted[covariate.variable] = ("zscore",)
    return wanted
