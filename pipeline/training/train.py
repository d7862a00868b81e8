"""Train a network on patches that workers stream, and keep the best."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from pipeline.models import ConvLSTM, ConvLSTMShape, count_parameters
from pipeline.spread import Spread
from pipeline.streams.dataset import StreamedBatches
from pipeline.streams.draw import build_patch_plan
from pipeline.streams.loader import batch_loader
from pipeline.streams.patchplan import PatchPlan
from pipeline.streams.read import Source
from pipeline.streams.samples import Sample
from pipeline.together import Seat
from pipeline.training.arithmetic import Arithmetic
from pipeline.training.build import build_task
from pipeline.training.company import SilentDiary, learn_in_company
from pipeline.training.diary import Diary
from pipeline.training.fit import Fit
from pipeline.training.judge import LeadRMSE, MeanLoss, Restore, Score
from pipeline.training.learner import Learner
from pipeline.training.plan import TrainingPlan, plan_training
from pipeline.training.ranks import draw_apart
from pipeline.training.share import stream_for
from pipeline.training.spec import TrainingSpec
from pipeline.training.state import Checkpoint, State
from pipeline.training.track import tracked
from stores.counting import count
from stores.progress import ProgressCallback

log = logging.getLogger(__name__)

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
    spec: TrainingSpec,
    source: Source,
    folder: Path,
    *,
    spread: Spread,
    tell: ProgressCallback | None = None,
) -> Trained:
    """Train a network and return the weights of its best epoch.

    Curves and the state go to ``folder``. A training that was killed goes on from its state,
    and ends as if it had not been; one that is finished is not repeated. Equal specs, cubes
    and thread counts give equal weights, with any number of workers that read. Several ranks
    give those of one but for rounding, where nothing is drawn at random.

    Args:
        spec: what to train.
        source: what it learns from.
        folder: gets the state, ``curves.csv`` and TensorBoard's logs.
        spread: workers that read.
        tell: told after every batch how far it is.
    """
    learn = partial(_learn, spec, source, folder)
    if spec.ranks == 1:
        return _best(spec, learn(spread=spread, tell=tell).state())
    learn_in_company(learn, spec.ranks, spec.device, spread, tell)
    state = Checkpoint(folder, identity_of(spec, source)).open()
    assert state is not None  # the ranks have left it: no weights pass through the scheduler
    return _best(spec, state)


def _learn(
    spec: TrainingSpec,
    source: Source,
    folder: Path,
    *,
    spread: Spread,
    tell: ProgressCallback | None,
    seat: Seat | None = None,
) -> Learner:
    """Learn until nothing is left to learn: alone, or as the rank of a seat."""
    from lightning.fabric import seed_everything  # two seconds, for those who train

    plan = plan_training(spec, source)
    seed_everything(spec.seed, verbose=False)
    learner = build_learner(spec, source, plan, seat)
    draw_apart(spec.seed, learner.ranks.rank)
    checkpoint = Checkpoint(folder, identity_of(spec, source))
    _describe(spec, learner, plan)
    _resume(learner, checkpoint)
    streams = _streams(spec, source, plan, spread, learner.fabric.device, seat)
    with _open_diary(spec, learner, checkpoint, folder) as diary:
        fit = Fit(
            learner,
            *streams,
            checkpoint,
            spec.checkpoint_minutes,
            diary,
            tell,
        )
        diary.describe_stream(fit.train)
        diary.pass_on(learner.curves)
        fit.run()
    return learner


@contextmanager
def _open_diary(
    spec: TrainingSpec, learner: Learner, checkpoint: Checkpoint, folder: Path
) -> Iterator[Diary]:
    """Open the diary of a training; the first rank writes for all."""
    if not learner.ranks.is_first:
        yield SilentDiary()
        return
    with (
        tracked(spec.track, checkpoint.identity, folder) as trackers,
        Diary(folder, learner.at.epoch, trackers) as diary,
    ):
        yield diary


def identity_of(spec: TrainingSpec, source: Source) -> dict[str, str]:
    """Say what makes two trainings the same one."""
    return {"recipe": spec.fingerprint, "cube": source.open().version}


def build_learner(
    spec: TrainingSpec, source: Source, plan: TrainingPlan, seat: Seat | None = None
) -> Learner:
    """Build the network and everything that teaches it."""
    from pipeline.training.fabric import build_fabric  # imports Lightning, as above

    total_steps = plan.steps_per_epoch * plan.epochs
    return Learner(
        build_fabric(spec.device, spec.precision, seat),
        build_task(spec, source),
        replace(spec.learning, total_steps=total_steps),
        _build_scores(spec, source),
        source.stack.channels,
    )


def _build_scores(spec: TrainingSpec, source: Source) -> list[Score]:
    """List what is told of every epoch; the last one decides."""
    wanted, units = spec.score, spec.fit.units[spec.fit.target]
    restore, lead = Restore(source, spec.span), wanted.lead or spec.span.leads
    if wanted.kind == "loss":
        return [LeadRMSE(lead, restore, units), MeanLoss()]
    if wanted.units == "physical":
        return [MeanLoss(), LeadRMSE(lead, restore, units)]
    return [MeanLoss(), LeadRMSE(lead)]


def _streams(
    spec: TrainingSpec,
    source: Source,
    plan: TrainingPlan,
    spread: Spread,
    device: torch.device,
    seat: Seat | None,
) -> tuple[StreamedBatches, StreamedBatches]:
    """Open the batches to learn from, and those that judge."""
    span = spec.span
    drawn = build_patch_plan(spec.patches, source, span, plan.train, spread, seed=spec.seed)

    def opened(
        samples: Sequence[Sample], given: Sequence[Sample] | PatchPlan, *, shared: bool
    ) -> StreamedBatches:
        return stream_for(seat, shared=shared)(
            batch_loader(source, span, samples=samples),
            given,
            batch=spec.batch,
            spread=spread,
            device=device,
        )

    return (
        opened(plan.train, drawn, shared=True),
        opened(plan.validation, plan.validation, shared=False),
    )


def _describe(spec: TrainingSpec, learner: Learner, plan: TrainingPlan) -> None:
    split = spec.fit.split
    step = spec.step.of_series(plan.train[0].init)
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
        count(spec.batch * spec.learning.accumulate, "patch"),
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


def _best(spec: TrainingSpec, state: State) -> Trained:
    """Gather the weights of the best epoch and the curves from the state that is left."""
    judge = state["judge"]
    return Trained(
        shape=spec.network,
        weights={name: value.numpy() for name, value in judge["weights"].items()},
        curves=pd.DataFrame(state["curves"]).astype({"epoch": int}),
        best_epoch=judge["best_epoch"],
        n_parameters=count_parameters(ConvLSTM(spec.network)),
        arithmetic=tuple(Arithmetic(**one) for one in state["arithmetic"]),
    )
