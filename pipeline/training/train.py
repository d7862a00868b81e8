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

from pipeline.losses import build_loss, join_losses
from pipeline.models import ConvLSTM, ConvLSTMShape, count_parameters
from pipeline.recipes import Recipe
from pipeline.spread import Spread
from pipeline.streams.dataset import StreamedBatches
from pipeline.streams.draw import build_patch_plan
from pipeline.streams.read import Source
from pipeline.streams.samples import Sample, Span, batch_loader
from pipeline.together import Seat
from pipeline.training.company import SilentDiary, learn_in_company
from pipeline.training.diary import Diary
from pipeline.training.fit import Fit, Tell
from pipeline.training.judge import LeadRMSE, MeanLoss, Restore, Score
from pipeline.training.learner import Learner, LearningPlan
from pipeline.training.plan import TrainingPlan, plan_training
from pipeline.training.ranks import draw_apart
from pipeline.training.schedule import Curriculum
from pipeline.training.share import stream_for
from pipeline.training.state import Checkpoint, State
from pipeline.training.task import ForecastTask
from pipeline.training.track import tracked
from pipeline.training.weigh import build_weigh

log = logging.getLogger(__name__)

# Numbers that a recipe hands on as they are.
_TAKEN = (
    *("lr", "weight_decay", "warmup_steps", "schedule", "clip"),
    *("accumulate", "noise", "ema", "patience"),
)

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
    device: str


def train_model(
    recipe: Recipe, source: Source, folder: Path, *, spread: Spread, tell: Tell | None = None
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
    tell: Tell | None,
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
    with _open_diary(recipe, learner, checkpoint, folder) as diary:
        fit = Fit(
            learner,
            _stream(recipe, source, plan.train, spread, shuffled=True, seat=seat),
            _stream(recipe, source, plan.validation, spread, shuffled=False, seat=seat),
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
        _build_task(recipe, source, span),
        learning,
        _build_scores(recipe, source, span),
        source.stack.names,
    )


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
    )


def _build_task(recipe: Recipe, source: Source, span: Span) -> ForecastTask:
    terms = recipe.training.losses
    numbers = ("kind", "delta", "data_range", "window_px", "levels")
    loss = join_losses(
        [(term.weight, build_loss(**term.model_dump(include=set(numbers)))) for term in terms]
    )
    network = ConvLSTM(build_shape(recipe, len(source.stack.names)))
    return ForecastTask(network, loss, span.leads, build_weigh(terms, source, span))


def _build_scores(recipe: Recipe, source: Source, span: Span) -> list[Score]:
    """List what is told of every epoch; the last one decides."""
    wanted, units = recipe.training.score, recipe.target_variable.units
    restore, lead = Restore(source, span), wanted.lead or span.leads
    if wanted.kind == "loss":
        return [LeadRMSE(lead, restore, units), MeanLoss()]
    if wanted.units == "physical":
        return [MeanLoss(), LeadRMSE(lead, restore, units)]
    return [MeanLoss(), LeadRMSE(lead)]


def _stream(
    recipe: Recipe,
    source: Source,
    samples: Sequence[Sample],
    spread: Spread,
    *,
    shuffled: bool,
    seat: Seat | None = None,
) -> StreamedBatches:
    span = Span(recipe.rollout.history, recipe.training.leads)
    streams = stream_for(seat, shared=shuffled)
    drawn = build_patch_plan(recipe, source, span, samples, spread) if shuffled else samples
    return streams(
        batch_loader(source, span, samples=samples),
        drawn,
        batch=recipe.training.batch,
        spread=spread,
    )


def _describe(recipe: Recipe, learner: Learner, plan: TrainingPlan) -> None:
    made_on, n = learner.made_on, learner.ranks.n
    log.info(
        "training %d parameters on %s (%d threads%s), precision %s; %d samples of %d patches, "
        "%d steps an epoch of up to %d patches, up to %d epochs; %d samples validate",
        count_parameters(learner.task.network),
        learner.fabric.device,
        made_on["threads"],
        f", {n} ranks" if n > 1 else "",
        made_on["precision"],
        len(plan.train),
        len(plan.patches),
        plan.steps_per_epoch,
        recipe.training.batch * recipe.training.accumulate,
        plan.epochs,
        len(plan.validation),
    )


def _resume(learner: Learner, checkpoint: Checkpoint) -> None:
    """Bring the learner to where a killed training was, if there was one."""
    state = learner.ranks.from_first(checkpoint.open)
    if state is None:
        return
    learner.restore(state)
    before, now = {"ranks": 1} | state["made_on"], learner.made_on
    changed = [
        f"{key}={before[key]} (now {now[key]})" for key in now if now[key] != before[key]
    ]
    if changed:
        log.warning(
            "this training began with %s, so its last bits will differ from those of an "
            "undisturbed one",
            " and ".join(changed),
        )
    at = learner.at
    log.info("going on behind epoch %d, batch %d of %s", at.epoch, at.batch, checkpoint.path)


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
        device=state["made_on"]["device"],
    )
