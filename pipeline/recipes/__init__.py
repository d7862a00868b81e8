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
from pipeline.recipes.load import RecipeError, date_recipe, load_recipe, recipe_schema
from pipeline.recipes.loss import LossRecipe
from pipeline.recipes.model import ModelRecipe
from pipeline.recipes.patches import PatchesRecipe
from pipeline.recipes.place import PlaceRecipe
from pipeline.recipes.recipe import Recipe
from pipeline.recipes.rollout import PerturbRecipe, RolloutRecipe
from pipeline.recipes.runs import ComputeRecipe, OutputsRecipe
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
    "PlaceRecipe",
    "Recipe",
    "RecipeError",
    "RolloutRecipe",
    "SplitRecipe",
    "StaticCovariate",
    "StepCovariate",
    "TargetRecipe",
    "TrainingRecipe",
    "VariableRecipe",
    "date_recipe",
    "load_recipe",
    "recipe_schema",
    "resolve_split",
]
