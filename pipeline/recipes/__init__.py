"""Recipes: validated requests. Only flows and ``pipeline.specs`` see them."""

from pipeline.recipes.archive import ArchiveRecipe, GridRecipe, VariableRecipe
from pipeline.recipes.channels import (
    AnnualCovariate,
    DerivedCovariate,
    DomainRecipe,
    StaticCovariate,
    StepCovariate,
    TargetRecipe,
)
from pipeline.recipes.load import RecipeError, load_recipe, recipe_schema, resolve_dates
from pipeline.recipes.loss import LossRecipe
from pipeline.recipes.model import ModelRecipe
from pipeline.recipes.operations import ComputeRecipe, OutputsRecipe
from pipeline.recipes.patches import PatchesRecipe
from pipeline.recipes.recipe import Recipe
from pipeline.recipes.rollout import PerturbRecipe, RolloutRecipe
from pipeline.recipes.spatial_split import SpatialSplitRecipe
from pipeline.recipes.split import SplitRecipe, resolve_split
from pipeline.recipes.training import TrainingRecipe

__all__ = [
    "AnnualCovariate",
    "ArchiveRecipe",
    "ComputeRecipe",
    "DerivedCovariate",
    "DomainRecipe",
    "GridRecipe",
    "LossRecipe",
    "ModelRecipe",
    "OutputsRecipe",
    "PatchesRecipe",
    "PerturbRecipe",
    "Recipe",
    "RecipeError",
    "RolloutRecipe",
    "SpatialSplitRecipe",
    "SplitRecipe",
    "StaticCovariate",
    "StepCovariate",
    "TargetRecipe",
    "TrainingRecipe",
    "VariableRecipe",
    "load_recipe",
    "recipe_schema",
    "resolve_dates",
    "resolve_split",
]
