"""Train a network on patches that an executor reads, and return the best epoch."""

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

from pipeline.executors import Executor
from pipeline.models import ConvLSTMSpec, build_untrained_network, count_parameters
from pipeline.rank_group import RankContext
from pipeline.streams.build_patch_plan import build_patch_plan
from pipeline.streams.dataset import BatchDataset
from pipeline.streams.loader import make_loader
from pipeline.streams.patch_plan import PatchPlan
from pipeline.streams.samples import Sample
from pipeline.streams.source import Source
from pipeline.training.build_task import build_task
from pipeline.training.checkpoint import Checkpoint, CheckpointState
from pipeline.training.collectives import seed_rank
from pipeline.training.data_parallel import NullLogger, train_data_parallel
from pipeline.training.early_stopping import BatchInverseTransform, LeadRMSE, MeanLoss, Score
from pipeline.training.environment import ComputeEnvironment
from pipeline.training.logger import TrainingLogger
from pipeline.training.loop import TrainingLoop
from pipeline.training.rank_batches import dataset_for
from pipeline.training.spec import TrainingSpec
from pipeline.training.trackers import open_trackers
from pipeline.training.trainer import Trainer
from pipeline.training.training_plan import TrainingPlan, plan_training
from stores.formatting import pluralize
from stores.progress import ProgressCallback

log = logging.getLogger(__name__)

_UNUSABLE_STATE_ERRORS = (LookupError, TypeError, ValueError, AttributeError, RuntimeError)
WeightArrays = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class TrainingResult:
    """The best network of a run, and how it came about."""

    shape: ConvLSTMSpec
    weights: WeightArrays
    curves: pd.DataFrame
    """One row per epoch: train_loss, validation_loss, lr, and further scores."""
    best_epoch: int
    """Counted from 1."""
    n_parameters: int
    arithmetic: tuple[ComputeEnvironment, ...]
    """Environments of the computation; several where it went on elsewhere."""


def train_model(
    spec: TrainingSpec,
    source: Source,
    folder: Path,
    *,
    executor: Executor,
    on_progress: ProgressCallback | None = None,
) -> TrainingResult:
    """Train a network and return the weights of its best epoch.

    Curves and the state go to ``folder``. A training that was killed resumes from its state,
    and ends as if it had not been; one that is finished is not repeated. Equal specs, cubes
    and thread counts give equal weights, with any number of workers that read. Several ranks
    give those of one but for rounding, where nothing is drawn at random.

    Args:
        spec: what to train.
        source: cube and fitted fields that patches are read from.
        folder: gets the state, ``curves.csv`` and TensorBoard's logs.
        executor: reads patches.
        on_progress: called after every batch.
    """
    train = partial(_train, spec, source, folder)
    if spec.ranks == 1:
        trainer = train(executor=executor, on_progress=on_progress)
        return _collect_result(spec, trainer.state_dict())
    train_data_parallel(train, spec.ranks, spec.device, executor, on_progress)
    state = Checkpoint(folder, training_identity(spec, source)).load_or_clear()
    assert state is not None  # the ranks have saved it: no weights pass through the scheduler
    return _collect_result(spec, state)


def _train(
    spec: TrainingSpec,
    source: Source,
    folder: Path,
    *,
    executor: Executor,
    on_progress: ProgressCallback | None,
    rank_context: RankContext | None = None,
) -> Trainer:
    """Train until done: alone, or as one of several ranks."""
    from lightning.fabric import seed_everything  # takes two seconds, so only to train

    plan = plan_training(spec, source)
    seed_everything(spec.seed, verbose=False)
    trainer = build_trainer(spec, source, plan, rank_context)
    seed_rank(spec.seed, trainer.ranks.rank)
    checkpoint = Checkpoint(folder, training_identity(spec, source))
    _log_plan(spec, trainer, plan)
    _resume(trainer, checkpoint)
    datasets = _open_datasets(spec, source, plan, executor, trainer.fabric.device, rank_context)
    with _open_logger(spec, trainer, checkpoint, folder) as logger:
        loop = TrainingLoop(
            trainer,
            *datasets,
            checkpoint,
            spec.checkpoint_minutes,
            logger,
            on_progress,
        )
        logger.log_stream(loop.train)
        logger.flush_trackers(trainer.curves)
        loop.run()
    return trainer


@contextmanager
def _open_logger(
    spec: TrainingSpec, trainer: Trainer, checkpoint: Checkpoint, folder: Path
) -> Iterator[TrainingLogger]:
    """Open the logger of a training; the first rank writes for all."""
    if not trainer.ranks.is_first:
        yield NullLogger()
        return
    with (
        open_trackers(spec.track, checkpoint.identity, folder) as trackers,
        TrainingLogger(folder, trainer.progress.epoch, trackers) as logger,
    ):
        yield logger


def training_identity(spec: TrainingSpec, source: Source) -> dict[str, str]:
    """Return what makes two trainings the same one."""
    return {"recipe": spec.fingerprint, "cube": source.open().version}


def build_trainer(
    spec: TrainingSpec,
    source: Source,
    plan: TrainingPlan,
    rank_context: RankContext | None = None,
) -> Trainer:
    """Build the network and everything that trains it."""
    from pipeline.training.fabric import build_fabric  # imports Lightning, as above

    total_steps = plan.steps_per_epoch * plan.epochs
    return Trainer(
        build_fabric(spec.device, spec.precision, rank_context),
        build_task(spec, source),
        replace(spec.hyperparameters, total_steps=total_steps),
        _build_scores(spec, source),
        source.stack.channels,
    )


def _build_scores(spec: TrainingSpec, source: Source) -> list[Score]:
    """List the scores of every epoch; the last one decides."""
    score = spec.score
    lead = score.lead or spec.span.leads
    units = spec.fit.units[spec.fit.target]
    physical_rmse = LeadRMSE(lead, BatchInverseTransform(source, spec.span), units)
    if score.kind == "loss":
        return [physical_rmse, MeanLoss()]
    if score.units == "physical":
        return [MeanLoss(), physical_rmse]
    return [MeanLoss(), LeadRMSE(lead)]


def _open_datasets(
    spec: TrainingSpec,
    source: Source,
    plan: TrainingPlan,
    executor: Executor,
    device: torch.device,
    rank_context: RankContext | None,
) -> tuple[BatchDataset, BatchDataset]:
    """Open the batches to learn from, and those of the validation."""
    span = spec.span
    patches = build_patch_plan(spec.patches, source, span, plan.train, executor, seed=spec.seed)

    def open_dataset(
        samples: Sequence[Sample], order: Sequence[Sample] | PatchPlan, *, split_batches: bool
    ) -> BatchDataset:
        return dataset_for(rank_context, split_batches=split_batches)(
            make_loader(source, span, samples=samples),
            order,
            batch=spec.batch,
            executor=executor,
            device=device,
        )

    return (
        open_dataset(plan.train, patches, split_batches=True),
        open_dataset(plan.validation, plan.validation, split_batches=False),
    )


def _log_plan(spec: TrainingSpec, trainer: Trainer, plan: TrainingPlan) -> None:
    split = spec.fit.split
    step = spec.step.of_series(plan.train[0].init)
    log.info(
        "learning from %s, validating on %s%s",
        split.format_part("train", step),
        split.format_part("validation", step),
        f"; {split.describe(step)}" if split.describe(step) else "",
    )
    log.info(
        "training %d parameters on %s; %s of %s, %s an epoch of up to %s, up to %s; "
        "%s validate",
        count_parameters(trainer.task.network),
        trainer.environments[-1],
        pluralize(len(plan.train), "sample"),
        pluralize(len(plan.patches), "patch"),
        pluralize(plan.steps_per_epoch, "step"),
        pluralize(spec.batch * spec.hyperparameters.accumulate, "patch"),
        pluralize(plan.epochs, "epoch"),
        pluralize(len(plan.validation), "sample"),
    )


def _resume(trainer: Trainer, checkpoint: Checkpoint) -> None:
    """Load the state of a killed training, if there was one."""
    state = trainer.ranks.broadcast(checkpoint.load_or_clear)
    if state is None:
        return
    try:
        trainer.load_state_dict(state)
    except _UNUSABLE_STATE_ERRORS as error:  # half of it may be in the trainer already
        raise ValueError(
            f"{checkpoint.path} is no state that this training can go on from ({error!r}), so "
            "nothing was learned from it; remove the file, and training starts over"
        ) from error
    *earlier, current = trainer.environments
    if earlier and not trainer.is_done:
        log.warning(
            "this training computed on %s and goes on on %s, so its weights will differ from "
            "those of an undisturbed one; the bundle names all of them",
            " and on ".join(map(str, earlier)),
            current,
        )
    log.info("resuming after %s, saved in %s", trainer.progress, checkpoint.path)


def _collect_result(spec: TrainingSpec, state: CheckpointState) -> TrainingResult:
    """Collect the weights of the best epoch and the curves from the last state."""
    best = state["judge"]
    return TrainingResult(
        shape=spec.network,
        weights={name: value.numpy() for name, value in best["weights"].items()},
        curves=pd.DataFrame(state["curves"]).astype({"epoch": int}),
        best_epoch=best["best_epoch"],
        n_parameters=count_parameters(build_untrained_network(spec.network)),
        arithmetic=tuple(ComputeEnvironment(**values) for values in state["arithmetic"]),
    )
