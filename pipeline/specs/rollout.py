"""From a dated recipe to its forecasts, and to those of the past that score a model."""

from __future__ import annotations

from pipeline.recipes import Recipe
from pipeline.rollout.request import EnsembleSpec, HindcastSpec, RolloutSpec
from pipeline.specs.channels import build_fit_spec
from pipeline.streams.statistics import count_seasons


def build_rollout_spec(recipe: Recipe) -> RolloutSpec:
    """Build the spec by which a recipe's forecasts are rolled out."""
    rollout = recipe.rollout
    target = recipe.target
    return RolloutSpec(
        target=target.variable,
        leads=rollout.leads,
        minimum=target.minimum,
        maximum=target.maximum,
        members=EnsembleSpec(rollout.members, **rollout.perturb.model_dump()),
        precision=rollout.precision,
        mode=rollout.mode,
        taper=rollout.taper,
        taper_px=rollout.taper_px,
        tile_px=rollout.tile_px,
        block_leads=rollout.block_leads,
        batch=rollout.batch,
        device=recipe.compute.device,
        n_fields=_count_fields(recipe),
    )


def build_hindcast_spec(recipe: Recipe, part: str) -> HindcastSpec:
    """Build the spec of which forecasts of the past a recipe makes on a part."""
    rollout = recipe.rollout
    return HindcastSpec(
        part=part,
        split=recipe.split.to_split(),
        step=recipe.step,
        units=recipe.target_variable.units,
        interval=rollout.interval,
        rollout=rollout.model_dump(
            mode="json", exclude={*rollout.fingerprint_exclude, "bundles"}
        ),
    )


def _count_fields(recipe: Recipe) -> int:
    """Count the maps of climatologies that a tile may read: one a season and variable."""
    fit = build_fit_spec(recipe)
    n_anomalies = sum("anomaly" in transforms for transforms in fit.transforms.values())
    return (1 + n_anomalies) * count_seasons(fit.split, recipe.step)  # the baseline is one
