"""From a recipe to a training."""

from __future__ import annotations

from typing import Any

from pipeline.models import ConvLSTMSpec
from pipeline.recipes import LossRecipe, Recipe
from pipeline.recipes.loss import PixelLoss, PointLoss
from pipeline.specs.channels import build_fit_spec
from pipeline.streams.spec import PatchSpec
from pipeline.training.ensemble import TrainingEnsemble
from pipeline.training.schedule import Curriculum, Hyperparameters
from pipeline.training.spec import (
    ClassSpec,
    LossSpec,
    Origin,
    ScoreSpec,
    TrackSpec,
    TrainingSpec,
)

# Numbers that are handed on as they are: to the optimizer, to a loss.
_OF_LEARNING = (
    *("lr", "weight_decay", "warmup_steps", "schedule", "clip"),
    *("accumulate", "noise", "ema", "patience"),
)
_OF_LOSS = {"delta", "data_range", "window_px", "levels", "quantiles"}


def build_training_spec(recipe: Recipe) -> TrainingSpec:
    """Build the spec of what a recipe trains; it can learn once the recipe is dated."""
    training = recipe.training
    compute = recipe.compute
    fit = build_fit_spec(recipe)
    return TrainingSpec(
        name=recipe.name,
        fingerprint=recipe.fingerprint(),
        step=recipe.step,
        fit=fit,
        network=_build_shape(recipe, len(fit.stack.names)),
        patches=_build_patches(recipe),
        hyperparameters=_build_hyperparameters(recipe),
        losses=tuple(_build_loss(term) for term in training.losses),
        ensemble=_build_ensemble(recipe),
        score=ScoreSpec(**training.score.model_dump()),
        batch=training.batch,
        seed=training.seed,
        precision=training.precision,
        device=compute.device,
        ranks=compute.ranks,
        checkpoint_minutes=training.checkpoint_minutes,
        track=_build_track(recipe),
        origin=_build_origin(recipe),
    )


def _build_shape(recipe: Recipe, channels: int) -> ConvLSTMSpec:
    model = recipe.model
    return ConvLSTMSpec(
        channels=channels,
        history=recipe.rollout.history,
        hidden=model.hidden,
        kernel=model.kernel,
        head=model.head,
        dropout=model.dropout,
        norm=model.norm,
        residual=model.residual,
        memory=model.memory,
        quantiles=recipe.training.quantiles,
    )


def _build_patches(recipe: Recipe) -> PatchSpec:
    training = recipe.training
    return PatchSpec(
        side_px=training.patch_px,
        min_valid=training.min_valid,
        per_epoch=training.patches_per_epoch,
        draw=training.patches.draw,
        jitter_px=training.patches.jitter_px,
        buffer=training.patches.buffer,
    )


def _build_hyperparameters(recipe: Recipe) -> Hyperparameters:
    training = recipe.training
    curriculum = Curriculum(
        epochs=training.epochs,
        leads=training.leads,
        leads_start=training.leads_start or training.leads,
        leads_every=training.leads_every,
        teacher=(training.teacher_start, training.teacher_end),
        teacher_decay=training.teacher_decay,
    )
    return Hyperparameters(
        curriculum, **{name: getattr(training, name) for name in _OF_LEARNING}
    )


def _build_loss(term: LossRecipe) -> LossSpec:
    classes = term.classes if isinstance(term, PointLoss) else None
    return LossSpec(
        term.kind,
        term.weight,
        numbers=term.model_dump(include=_OF_LOSS),
        classes=None if classes is None else ClassSpec(**classes.model_dump()),
        area=isinstance(term, PixelLoss) and term.area,
    )


def _build_ensemble(recipe: Recipe) -> TrainingEnsemble | None:
    training = recipe.training
    if training.members == 1:
        return None
    drops = recipe.model.dropout > 0
    return TrainingEnsemble(
        training.members, training.seed, dropout=drops, noise=training.noise
    )


def _build_track(recipe: Recipe) -> TrackSpec:
    sections = {"name", "model", "training", "rollout"}
    facts = recipe.model_dump(mode="json", include=sections)
    return TrackSpec(recipe.training.track, recipe.name, recipe.root, facts)


def _build_origin(recipe: Recipe) -> Origin:
    science: dict[str, Any] = recipe.model_dump(
        mode="json",
        exclude={
            "root": True,
            "compute": True,
            "training": recipe.training.fingerprint_exclude,
        },
    )
    science["archive"].pop("root")  # where files lie changes no number
    return Origin(science, recipe.split.unresolved.model_dump(mode="json"))
