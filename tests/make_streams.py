"""Builders of streams: a cube with every kind of covariate, and batches of it."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch
import zarr

from pipeline.executors import Executor, SerialExecutor
from pipeline.recipes import Recipe, load_recipe
from pipeline.specs import build_fit_spec, build_training_spec
from pipeline.streams import slabs
from pipeline.streams.dataset import BatchDataset
from pipeline.streams.loader import make_loader, read_batch_directly
from pipeline.streams.patch_plan import PatchPlan
from pipeline.streams.samples import RolloutSpan, Sample
from pipeline.streams.source import Source
from pipeline.streams.statistics import fit_stack
from pipeline.training.training_plan import plan_training
from stores.arrays import commit_group
from stores.cube import Cube
from stores.windows import Window
from tests.make import (
    RAIN_FILES,
    make_cube,
)

SPAN = RolloutSpan(3, 2)
VARIABLES = {
    "wet": {"files": RAIN_FILES, "units": "1"},
    "late": {"files": RAIN_FILES, "units": "1"},
}
COVARIATES = [
    {"kind": "derived", "of": "season"},
    {
        "kind": "step",
        "variable": "wet",
        "future": "climatology",
        "delay": 1,
        "transform": ["anomaly", "zscore"],
    },
    {"kind": "step", "variable": "late", "future": "persist", "delay": 2},
    {"kind": "derived", "of": "lonlat"},
    {"kind": "static", "variable": "elevation"},
]


class Made(NamedTuple):
    recipe: Recipe
    source: Source
    samples: list[Sample]


def rechunk(cube: Path, chunk: tuple[int, int, int]) -> None:
    """Write every variable anew in other chunks."""
    for name in Cube.open(cube).variables:
        old = zarr.open_array(cube / name, mode="r")
        values, attributes = np.asarray(old[...]), dict(old.attrs)
        dims = old.metadata.dimension_names  # type: ignore[union-attr]
        array = zarr.create_array(
            cube / name,
            shape=values.shape,
            dtype=values.dtype,
            chunks=chunk[3 - values.ndim :],
            fill_value=np.nan,
            dimension_names=dims,
            attributes=attributes,
            overwrite=True,
        )
        array[...] = values
    commit_group(cube)


def make_source(
    folder: Path, chunk: tuple[int, int, int] | None = None, **training: object
) -> Made:
    cube = make_cube(
        folder,
        archive={"variables": VARIABLES},
        covariates=COVARIATES,
        target={"transform": ["log1p", "anomaly", "zscore"]},
        training={"patch_px": 9, **training},
    )
    if chunk:
        rechunk(cube, chunk)
    recipe = load_recipe(folder / "recipe.yaml")
    stack = fit_stack(build_fit_spec(recipe), cube, folder / "fields.zarr", SerialExecutor())
    source = Source(cube, folder / "fields.zarr", stack)
    return Made(recipe, source, list(plan_training(build_training_spec(recipe), source).train))


def stream(
    made: Made,
    executor: Executor,
    *,
    memory: int = 0,
    worker: int = 1 << 20,
    device: str = "cpu",
    **plan: object,
) -> BatchDataset:
    load = make_loader(made.source, SPAN, worker_bytes=worker, samples=made.samples)
    wanted = {"seed": 4, "per_epoch": 90, "buffer": 30} | plan
    patches = PatchPlan(tuple(made.samples), **wanted)  # type: ignore[arg-type]
    batches = BatchDataset(
        load, patches, batch=7, executor=executor, device=torch.device(device)
    )
    batches.memory_bytes = memory
    return batches


def on_device(made: Made, device: str = "cpu", **plan: object) -> BatchDataset:
    batches = stream(made, SerialExecutor(), device=device, **plan)  # type: ignore[arg-type]
    batches.device_bytes = 1 << 30
    return batches


def arrays(batches: BatchDataset) -> list[list[npt.NDArray[np.generic]]]:
    return [[tensor.cpu().numpy() for tensor in batch] for batch in batches]


def assert_same(found: list[list[npt.NDArray[np.generic]]], batches: BatchDataset) -> None:
    """Compare with a direct read of the plan, bit for bit."""
    made = batches._load
    plan = batches.plan_batches()
    assert len(found) == len(plan)
    for one, samples in zip(found, plan, strict=True):
        direct = read_batch_directly(made.source, made.span, samples)  # type: ignore[attr-defined]
        for array, expected in zip(one, direct, strict=True):
            assert array.dtype == expected.dtype
            np.testing.assert_array_equal(array, expected)


def cut_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut everything so small that nothing lies in one slab, block or buffer."""
    monkeypatch.setattr(slabs, "SLAB_PX", 6)
    monkeypatch.setattr(slabs, "SLAB_BYTES", 4 * 8 * 7 * 4)


def remember_reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """Remember every read of chunks."""
    calls: list[tuple[object, ...]] = []
    read = Cube.read_indices

    def remembered(cube: Cube, name: str, window: Window, start: int, stop: int) -> object:
        calls.append((name, window, start, stop))
        return read(cube, name, window, start, stop)

    monkeypatch.setattr(Cube, "read_indices", remembered)
    return calls
