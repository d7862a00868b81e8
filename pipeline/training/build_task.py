"""From plain values to the network, and to the loss that training minimizes."""

from __future__ import annotations

from pipeline.losses import PROBABILISTIC, WeightedLoss, build_loss, sum_losses
from pipeline.models import build_untrained_network
from pipeline.streams.source import Source
from pipeline.training.pixel_weights import build_pixel_weights
from pipeline.training.spec import LossSpec, TrainingSpec
from pipeline.training.task import ForecastTask


def build_task(spec: TrainingSpec, source: Source) -> ForecastTask:
    """Build the network, its loss, and the ensemble it is trained with."""
    return ForecastTask(
        build_untrained_network(spec.network),
        sum_losses([_build_term(term) for term in spec.losses]),
        spec.span.leads,
        build_pixel_weights(spec.losses, source, spec.span),
        spec.ensemble,
    )


def _build_term(term: LossSpec) -> WeightedLoss:
    loss = build_loss(term.kind, **term.numbers)
    return WeightedLoss(term.weight, loss, takes_distribution=term.kind in PROBABILISTIC)
