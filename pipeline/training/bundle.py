"""From a cube to a bundle: fit, train, describe, publish."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.executors import Executor
from pipeline.models import build_untrained_network, describe_network
from pipeline.plots import Extent, plot_curves, plot_split, to_png
from pipeline.split import FITTED_PARTS
from pipeline.streams.fields import FIELDS
from pipeline.streams.input_stack import InputStack
from pipeline.streams.source import Source
from pipeline.streams.spatial_split import describe_areas, read_area_table, read_part_numbers
from pipeline.streams.statistics import fit_stack
from pipeline.training.checkpoint import delete_state
from pipeline.training.lineage import code_digest, list_inputs, list_versions
from pipeline.training.result_cache import cache_key, describe_environments, record_result
from pipeline.training.spec import TrainingSpec
from pipeline.training.train import TrainingResult, train_model
from pipeline.training.training_plan import plan_part_inits
from stores import grid as grids
from stores.bundle import Bundle, publish_bundle, stage_bundle
from stores.cube import Cube
from stores.progress import ProgressCallback
from stores.windows import Window

CURVES = "curves"
PARTS_MAP = "parts"
_SCORES = ("train_loss", "validation_loss", "validation_rmse")


def train_bundle(
    spec: TrainingSpec,
    cube: Cube,
    folders: tuple[Path, Path],
    *,
    executor: Executor,
    on_progress: ProgressCallback | None = None,
    aside: bool = False,
) -> Bundle:
    """Train a model and publish it with everything needed to use it.

    A run that was killed before it published goes on where it was.

    Args:
        spec: what to train.
        cube: cube of the recipe; only its training and validation parts are read.
        folders: where bundles are published, and where curves and the training's state go.
        executor: reads patches.
        on_progress: called after every batch.
        aside: leave the bundle current that is, as one of several trainings does; folds
            always do, for they score a recipe and are no model of it.
    """
    models, logs = folders
    for part in FITTED_PARTS:
        plan_part_inits(spec, cube.dates, part)  # refuses before anything is fitted
    inputs = list_inputs(cube)
    key = cache_key(spec.fingerprint, cube)
    with stage_bundle(models, spec.name) as folder:
        stack = fit_stack(spec.fit, cube.path, folder / FIELDS, executor)
        source = Source(cube.path, folder / FIELDS, stack)
        trained = train_model(spec, source, logs, executor=executor, on_progress=on_progress)
        _write_curves(trained, folder)
        _draw_split_map(spec, cube, folder)
        description = describe_training(spec, cube, stack, trained) | {"inputs": inputs}
        bundle = publish_bundle(
            folder,
            models,
            spec.name,
            trained.weights,
            description,
            set_current=not aside and spec.fit.split.folds is None,
        )
    record_result(logs, key | describe_environments(trained.arithmetic), bundle)
    delete_state(logs)  # the same request trains again
    return bundle


def _write_curves(trained: TrainingResult, folder: Path) -> None:
    trained.curves.to_csv(folder / f"{CURVES}.csv", index=False)
    figure = plot_curves(trained.curves, best_epoch=trained.best_epoch)
    (folder / f"{CURVES}.png").write_bytes(to_png(figure))


def _draw_split_map(spec: TrainingSpec, cube: Cube, folder: Path) -> None:
    """Draw which part each pixel belongs to, where the split is spatial."""
    spatial_split = spec.fit.split.place
    table = read_area_table(folder / FIELDS)
    if spatial_split is None or table is None:
        return
    part_numbers = read_part_numbers(
        folder / FIELDS, Window.from_shape((cube.grid.height, cube.grid.width))
    )
    figure = plot_split(
        part_numbers,
        describe_areas(table, spatial_split.unit_name),
        extent=Extent.of(cube.grid),
        title=f"Parts {spec.fit.split.describe(spec.step)}",
    )
    (folder / f"{PARTS_MAP}.png").write_bytes(to_png(figure))


def describe_training(
    spec: TrainingSpec, cube: Cube, stack: InputStack, trained: TrainingResult
) -> dict[str, Any]:
    """Describe what a model is, what it was made of, and how far it looks."""
    network = build_untrained_network(trained.shape)
    return {
        "recipe": dict(spec.origin.recipe),
        "split": dict(spec.origin.split),
        "fingerprint": spec.fingerprint,
        "network": describe_network(trained.shape),
        "stack": stack.to_json(),
        "channels": list(stack.names),
        "grid": grids.to_json(cube.grid),
        "step": str(cube.step),
        "cube_version": cube.version,
        "reading": asdict(network.reading),
        "reach": asdict(network.reach),
        "training": _describe_training(spec, trained),
        "code": code_digest(),
        "versions": list_versions(),
    }


def _describe_training(spec: TrainingSpec, trained: TrainingResult) -> dict[str, Any]:
    rows: Mapping[Any, Any] = trained.curves.set_index("epoch").to_dict("index")
    best = rows[trained.best_epoch]
    return {
        "parameters": trained.n_parameters,
        **describe_environments(trained.arithmetic),
        "best_epoch": trained.best_epoch,
        "epochs": len(trained.curves),
        "validation_loss": float(best["validation_loss"]),
        "score": f"validation_{spec.score.kind}",
        "scores": {name: float(best[name]) for name in _SCORES if name in best},
        "curves": f"{CURVES}.csv",
    }


def read_curves(bundle: Bundle) -> pd.DataFrame:
    """Read the training curves of a bundle."""
    return pd.read_csv(bundle.path / f"{CURVES}.csv")
