"""Train a network on patches that workers stream, and keep the best."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
)
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader

from pipeline.losses import build_loss
from pipeline.models import ConvLSTM, ConvLSTMShape, count_parameters
from pipeline.recipes import Recipe
from pipeline.spread import Spread
from pipeline.streams.dataset import StreamedBatches
from pipeline.streams.draw import build_patch_plan
from pipeline.streams.read import Source
from pipeline.streams.samples import Sample, Span, batch_loader, plan_inits
from pipeline.tiling.patches import plan_patches
from pipeline.training.quiet import quiet_lightning
from pipeline.training.task import ForecastTask, LearningPlan
from stores.windows import Window

log = logging.getLogger(__name__)

Arrays = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Trained:
    """The best network of a run, and how it came about."""

    shape: ConvLSTMShape
    weights: Arrays
    curves: pd.DataFrame
    """One row per epoch: train_loss, validation_loss, lr."""
    best_epoch: int
    """Counted from 1."""
    n_parameters: int
    device: str


@dataclass(frozen=True)
class TrainingPlan:
    """What one run will read and do: counted before it begins."""

    train: Sequence[Sample]
    validation: Sequence[Sample]
    patches: Sequence[Window]
    steps_per_epoch: int
    epochs: int


def plan_training(recipe: Recipe, source: Source) -> TrainingPlan:
    """List every sample of both parts: each init with each patch that holds enough domain.

    Raises:
        ValueError: a part is empty.
    """
    cube = source.open()
    domain = source.domain(Window.whole((cube.grid.height, cube.grid.width)))
    training = recipe.training
    patches = plan_patches(domain, side=training.patch_px, min_valid=training.min_valid)
    span = Span(recipe.rollout.history, training.leads)
    parts = {}
    for part in ("train", "validation"):
        frames = recipe.split.frames(part, recipe.step)
        inits = plan_inits(frames, cube.times, span)
        if not inits:
            raise ValueError(
                f"split.{part} has no {span.history + span.leads} frames in a row in the cube "
                f"(which holds {cube.step.label(cube.times[0])} to "
                f"{cube.step.label(cube.times[-1])}), so there is no sample; "
                "ingest more or change the split"
            )
        parts[part] = [Sample(init, patch) for init in inits for patch in patches]
    n_samples = min(training.patches_per_epoch or len(parts["train"]), len(parts["train"]))
    steps = math.ceil(n_samples / training.batch)
    return TrainingPlan(parts["train"], parts["validation"], patches, steps, training.epochs)


def train_model(
    recipe: Recipe,
    source: Source,
    folder: Path,
    *,
    spread: Spread,
    callbacks: Sequence[Callback] = (),
) -> Trained:
    """Train the recipe's network and return the weights of its best epoch.

    Checkpoints, CSV and TensorBoard logs go to ``folder``. Equal recipes, cubes and thread
    counts give equal weights, with any number of workers.
    """
    plan = plan_training(recipe, source)
    with quiet_lightning():
        return _fit(recipe, source, folder, plan, spread, callbacks)


def _fit(
    recipe: Recipe,
    source: Source,
    folder: Path,
    plan: TrainingPlan,
    spread: Spread,
    callbacks: Sequence[Callback],
) -> Trained:
    shutil.rmtree(folder, ignore_errors=True)  # curves of an earlier run would mix with these
    L.seed_everything(recipe.training.seed, verbose=False)
    task = _build_task(recipe, source, plan)
    train = _loader(recipe, source, plan.train, spread, shuffled=True)
    validation = _loader(recipe, source, plan.validation, spread, shuffled=False)
    trainer = _build_trainer(recipe, folder, callbacks)
    log.info(
        "training %d parameters on %s, precision %s; %d samples of %d patches, %d steps",
        count_parameters(task.network),
        trainer.strategy.root_device,
        trainer.precision,
        len(plan.train),
        len(plan.patches),
        plan.steps_per_epoch,
    )
    trainer.fit(task, train, validation)
    return _best(task, trainer, folder)


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
    )


def _build_task(recipe: Recipe, source: Source, plan: TrainingPlan) -> ForecastTask:
    training = recipe.training
    shape = build_shape(recipe, len(source.stack.names))
    learning = LearningPlan(
        leads=training.leads,
        lr=training.lr,
        weight_decay=training.weight_decay,
        warmup_steps=training.warmup_steps,
        total_steps=plan.steps_per_epoch * plan.epochs,
        schedule=training.schedule,
        teacher=(training.teacher_start, training.teacher_end),
    )
    loss = build_loss(training.loss.kind, delta=training.loss.delta)
    return ForecastTask(ConvLSTM(shape), loss, learning)


def _loader(
    recipe: Recipe, source: Source, samples: Sequence[Sample], spread: Spread, *, shuffled: bool
) -> DataLoader[list[torch.Tensor]]:
    span = Span(recipe.rollout.history, recipe.training.leads)
    drawn = build_patch_plan(recipe, source, span, samples, spread) if shuffled else samples
    batches = StreamedBatches(
        batch_loader(source, span), drawn, batch=recipe.training.batch, spread=spread
    )
    # Workers of the spread read ahead; a second pool of processes would only add copies.
    return DataLoader(batches, batch_size=None, num_workers=0)


def _build_trainer(recipe: Recipe, folder: Path, callbacks: Sequence[Callback]) -> L.Trainer:
    training = recipe.training
    return L.Trainer(
        accelerator={"auto": "auto", "cpu": "cpu", "cuda": "gpu"}[recipe.compute.device],
        devices=1,
        precision=_precision(training.precision, recipe.compute.device),  # type: ignore[arg-type]
        max_epochs=training.epochs,
        gradient_clip_val=training.clip or None,
        callbacks=[
            EarlyStopping("validation_loss", patience=training.patience),
            ModelCheckpoint(
                folder,
                "best",
                monitor="validation_loss",
                save_last=True,
                enable_version_counter=False,
            ),
            LearningRateMonitor("epoch"),
            _Epochs(),
            *callbacks,
        ],
        logger=[
            CSVLogger(folder, name="", version="csv"),
            TensorBoardLogger(folder, name="", version="tensorboard"),
        ],
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


class _Epochs(Callback):
    """Tell the stream which epoch's plan to follow."""

    def on_train_epoch_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        loader = trainer.train_dataloader
        assert loader is not None
        loader.dataset.epoch = trainer.current_epoch


def _precision(wanted: str, device: str) -> str:
    """Choose arithmetic: bf16 where the device computes it fast."""
    if wanted != "auto":
        return {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}[wanted]
    fast = device != "cpu" and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return "bf16-mixed" if fast else "32-true"


def read_weights(path: Path) -> Arrays:
    """Read a network's weights from a checkpoint; nothing in it can run code."""
    kept = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    prefix = "network."
    return {
        name.removeprefix(prefix): weight.numpy()
        for name, weight in kept.items()
        if name.startswith(prefix)
    }


def _best(task: ForecastTask, trainer: L.Trainer, folder: Path) -> Trained:
    """Load the best checkpoint, weights only, and gather the curves."""
    curves = _read_curves(folder / "csv" / "metrics.csv")
    return Trained(
        shape=task.network.shape,
        weights=read_weights(folder / "best.ckpt"),
        curves=curves,
        best_epoch=int(curves["epoch"].iloc[curves["validation_loss"].argmin()]),
        n_parameters=count_parameters(task.network),
        device=str(trainer.strategy.root_device),
    )


def _read_curves(path: Path) -> pd.DataFrame:
    """Join the rows that Lightning writes per epoch: rate, training and validation loss."""
    rows = pd.read_csv(path)
    rows = rows.rename(
        columns={name: "lr" for name in map(str, rows) if name.startswith("lr-")}
    )
    columns = [name for name in ("train_loss", "validation_loss", "lr") if name in rows]
    # The rate is logged before its epoch is named; people count epochs from 1.
    rows["epoch"] = rows["epoch"].bfill().astype(int) + 1
    return rows.groupby("epoch")[columns].first().reset_index()
