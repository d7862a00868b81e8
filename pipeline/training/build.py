"""From plain values to the network that learns, and to the loss that it lowers."""

from __future__ import annotations

from pipeline.losses import SPREADS, Term, build_loss, join_losses
from pipeline.models import ConvLSTM
from pipeline.streams.read import Source
from pipeline.training.spec import LossSpec, TrainingSpec
from pipeline.training.task import ForecastTask
from pipeline.training.weigh import build_weigh


def build_task(spec: TrainingSpec, source: Source) -> ForecastTask:
    """Build the network, and what it is asked."""
    return ForecastTask(
        ConvLSTM(spec.network),
        join_losses([_build_term(term) for term in spec.losses]),
        spec.span.leads,
        build_weigh(spec.losses, source, spec.span),
        spec.ensemble,
    )


def _build_term(term: LossSpec) -> Term:
    loss = build_loss(term.kind, **term.numbers)
    return Term(term.weight, loss, of_spread=term.kind in SPREADS)
