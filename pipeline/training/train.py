"""Train a network on patches that workers stream, and keep the best."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from pipeline.models import ConvLSTM, ConvLSTMShape, count_parameters
from pipeline.recipes import Recipe
from pipeline.spread import Spread
from pipeline.streams.dataset import StreamedBatches
from pipeline.streams.draw import build_patch_plan
from pipeline.streams.loader import batch_loader
from pipeline.streams.patchplan import PatchPlan
from pipeline.streams.read import Source
from pipeline.streams.samples import Sample, Span
from pipeline.together import Seat
from pipeline.training.arithmetic import Arithmetic
from pipeline.training.build import build_shape, build_task
from pipeline.training.company import SilentDiary, learn_in_company
from pipeline.training.diary import Diary
from pipeline.training.fit import Fit
from pipeline.training.judge import LeadRMSE, MeanLoss, Restore, Score
from pipeline.training.learner import Learner, LearningPlan
from pipeline.training.plan import TrainingPlan, plan_training
from pipeline.training.ranks import draw_apart
from pipeline.training.schedule import Curriculum
from pipeline.training.share import stream_for
from pipeline.training.state import Checkpoint, State
from pipeline.training.track import tracked
from stores.counting import count
from stores.progress import ProgressCallback

log = logging.getLogger(__name__)

# Numbers that a recipe hands on as they are.
_TAKEN = (
    *("lr", "weight_decay", "warmup_steps", "schedule", "clip"),
    *("accumulate", "noise", "ema", "patience"),
)
_UNUSABLE = (LookupError, TypeError, ValueError, AttributeError, RuntimeError)
Arrays = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Trained:
    """The best network of a run, and how it came about."""

    shape: ConvLSTMShape
    weights: Arrays
    curves: pd.DataFrame
    """One row per epoch: train_loss, validation_loss, lr, and further scores."""
    best_epoch: int
    """Counted from 1."""
    n_parameters: int
    arithmetic: tuple[Arithmetic, ...]
    """How it was computed; several where it went on elsewhere."""


def train_model(
    recipe: Recipe,
    source: Source,
    folder: Path,
    *,
    spread: Spread,
    tell: ProgressCallback | None = None,
) -> Trained:
    """Train the recipe's network and return the weights of its best epoch.

    Curves and the state go to ``folder``. A training that was killed goes on from its state,
    and ends as if it had not been; one that is finished is not repeated. Equal recipes, cubes
    and thread counts give equal weights, with any number of workers that read. Several ranks
    give those of one but for rounding, where nothing is drawn at random.

    Args:
        recipe: what to train.
        source: what it learns from.
        folder: gets the state, ``curves.csv`` and TensorBoard's logs.
        spread: workers that read.
        tell: told after every batch how far it is.
    """
    learn = partial(_learn, recipe, source, folder)
    if recipe.compute.ranks == 1:
        return _best(recipe, source, learn(spread=spread, tell=tell).state())
    learn_in_company(learn, recipe.compute, spread, tell)
    state = Checkpoint(folder, identity_of(recipe, source)).open()
    assert state is not None  # the ranks have left it: no weights pass through the scheduler
    return _best(recipe, source, state)


def _learn(
    recipe: Recipe,
    source: Source,
    folder: Path,
    *,
    spread: Spread,
    tell: ProgressCallback | None,
    seat: Seat | None = None,
) -> Learner:
    """Learn until nothing is left to learn: alone, or as the rank of a seat."""
    from lightning.fabric import seed_everything  # two seconds, for those who train

    plan = plan_training(recipe, source)
    seed_everything(recipe.training.seed, verbose=False)
    learner = build_learner(recipe, source, plan, seat)
    draw_apart(recipe.training.seed, learner.ranks.rank)
    checkpoint = Checkpoint(folder, identity_of(recipe, source))
    _describe(recipe, learner, plan)
    _resume(learner, checkpoint)
    streams = _streams(recipe, source, plan, spread, learner.fabric.device, seat)
    with _open_diary(recipe, learner, checkpoint, folder) as diary:
        fit = Fit(
            learner,
            *streams,
            checkpoint,
            recipe.training.checkpoint_minutes,
            diary,
            tell,
        )
        diary.describe_stream(fit.train)
        diary.pass_on(learner.curves)
        fit.run()
    return learner


@contextmanager
def _open_diary(
    recipe: Recipe, learner: Learner, checkpoint: Checkpoint, folder: Path
) -> Iterator[Diary]:
    """Open the diary of a training; the first rank writes for all."""
    if not learner.ranks.is_first:
        yield SilentDiary()
        return
    with (
        tracked(recipe, checkpoint.identity, folder) as trackers,
        Diary(folder, learner.at.epoch, trackers) as diary,
    ):
        yield diary


def identity_of(recipe: Recipe, source: Source) -> dict[str, str]:
    """Say what makes two trainings the same one."""
    return {"recipe": recipe.fingerprint(), "cube": source.open().version}


def build_learner(
    recipe: Recipe, source: Source, plan: TrainingPlan, seat: Seat | None = None
) -> Learner:
    """Build the recipe's network and everything that teaches it."""
    from pipeline.training.fabric import build_fabric  # imports Lightning, as above

    training, compute = recipe.training, recipe.compute
    curriculum = Curriculum(
        epochs=training.epochs,
        leads=training.leads,
        leads_start=training.leads_start or training.leads,
        leads_every=training.leads_every,
        teacher=(training.teacher_start, training.teacher_end),
        teacher_decay=training.teacher_decay,
    )
    learning = LearningPlan(
        curriculum,
        total_steps=plan.steps_per_epoch * plan.epochs,
        **{name: getattr(training, name) for name in _TAKEN},
    )
    span = Span(recipe.rollout.history, training.leads)
    return Learner(
        build_fabric(compute.device, training.precision, seat),
        build_task(recipe, source, span),
        learning,
        _build_scores(recipe, source, span),
        source.stack.channels,
    )


def _build_scores(recipe: Recipe, source: Source, span: Span) -> list[Score]:
    """List what is told of every epoch; the last one decides."""
    wanted, units = recipe.training.score, recipe.target_variable.units
    restore, lead = Restore(source, span), wanted.lead or span.leads
    if wanted.kind == "loss":
        return [LeadRMSE(lead, restore, units), MeanLoss()]
    if wanted.units == "physical":
        return [MeanLoss(), LeadRMSE(lead, restore, units)]
    return [MeanLoss(), LeadRMSE(lead)]


def _streams(
    recipe: Recipe,
    source: Source,
    plan: TrainingPlan,
    spread: Spread,
    device: torch.device,
    seat: Seat | None,
) -> tuple[StreamedBatches, StreamedBatches]:
    """Open the batches to learn from, and those that judge."""
    span = Span(recipe.rollout.history, recipe.training.leads)
    drawn = build_patch_plan(recipe, source, span, plan.train, spread)

    def opened(
        samples: Sequence[Sample], given: Sequence[Sample] | PatchPlan, *, shared: bool
    ) -> StreamedBatches:
        return stream_for(seat, shared=shared)(
            batch_loader(source, span, samples=samples),
            given,
            batch=recipe.training.batch,
            spread=spread,
            device=device,
        )

    return (
        opened(plan.train, drawn, shared=True),
        opened(plan.validation, plan.validation, shared=False),
    )


def _describe(recipe: Recipe, learner: Learner, plan: TrainingPlan) -> None:
    split, step = recipe.split, recipe.step.of_series(plan.train[0].init)
    log.info(
        "learning from %s, validating on %s%s",
        split.show("train", step),
        split.show("validation", step),
        f"; {split.words(step)}" if split.words(step) else "",
    )
    log.info(
        "training %d parameters on %s; %s of %s, %s an epoch of up to %s, up to %s; "
        "%s validate",
        count_parameters(learner.task.network),
        learner.arithmetic[-1],
        count(len(plan.train), "sample"),
        count(len(plan.patches), "patch"),
        count(plan.steps_per_epoch, "step"),
        count(recipe.training.batch * recipe.training.accumulate, "patch"),
        count(plan.epochs, "epoch"),
        count(len(plan.validation), "sample"),
    )


def _resume(learner: Learner, checkpoint: Checkpoint) -> None:
    """Bring the learner to where a killed training was, if there was one."""
    state = learner.ranks.from_first(checkpoint.open)
    if state is None:
        return
    try:
        learner.restore(state)
    except _UNUSABLE as error:  # half of it may be in the learner already
        raise ValueError(
            f"{checkpoint.path} is no state that this training can go on from ({error!r}), so "
            "nothing was learned from it; remove the file, and training starts anew"
        ) from error
    *before, now = learner.arithmetic
    if before and not learner.is_done:
        log.warning(
            "this training computed on %s and goes on on %s, so its weights will differ from "
            "those of an undisturbed one; the bundle names all of them",
            " and on ".join(map(str, before)),
            now,
        )
    log.info("going on after %s, kept in %s", learner.at, checkpoint.path)


def _best(recipe: Recipe, source: Source, state: State) -> Trained:
    """Gather the weights of the best epoch and the curves from the state that is left."""
    shape = build_shape(recipe, len(source.stack.names))
    judge = state["judge"]
    return Trained(
        shape=shape,
        weights={name: value.numpy() for name, value in judge["weights"].items()},
        curves=pd.DataFrame(state["curves"]).astype({"epoch": int}),
        best_epoch=judge["best_epoch"],
        n_parameters=count_parameters(ConvLSTM(shape)),
        arithmetic=tuple(Arithmetic(**one) for one in state["arithmetic"]),
    )
