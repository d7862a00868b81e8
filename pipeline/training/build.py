"""From a recipe to the network that learns, and to the loss that it lowers."""

from __future__ import annotations

from pipeline.losses import SPREADS, Term, build_loss, join_losses
from pipeline.models import ConvLSTM, ConvLSTMShape
from pipeline.recipes import Recipe
from pipeline.recipes.loss import LossRecipe
from pipeline.streams.read import Source
from pipeline.streams.samples import Span
from pipeline.training.members import Ensemble
from pipeline.training.task import ForecastTask
from pipeline.training.weigh import build_weigh

# Numbers that a loss takes as they are.
_TAKEN = {"kind", "delta", "data_range", "window_px", "levels", "quantiles"}


def build_shape(recipe: Recipe, channels: int) -> ConvLSTMShape:
    """Give the sizes of the recipe's network for a number of input channels."""
    model = recipe.model
    return ConvLSTMShape(
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


def build_task(recipe: Recipe, source: Source, span: Span) -> ForecastTask:
    """Build the recipe's network, and what it is asked."""
    return ForecastTask(
        ConvLSTM(build_shape(recipe, len(source.stack.names))),
        join_losses([_build_term(term) for term in recipe.training.losses]),
        span.leads,
        build_weigh(recipe.training.losses, source, span),
        _build_ensemble(recipe),
    )


def _build_term(term: LossRecipe) -> Term:
    loss = build_loss(**term.model_dump(include=_TAKEN))
    return Term(term.weight, loss, of_spread=term.kind in SPREADS)


def _build_ensemble(recipe: Recipe) -> Ensemble | None:
    training = recipe.training
    if training.members == 1:
        return None
    drops = recipe.model.dropout > 0
    return Ensemble(training.members, training.seed, dropout=drops, noise=training.noise)
