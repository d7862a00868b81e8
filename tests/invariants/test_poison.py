"""Values outside the training part change neither statistics nor one bit of a batch."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import zarr

from pipeline.executors import SerialExecutor
from pipeline.recipes import Recipe, load_recipe
from pipeline.specs import build_fit_spec, build_training_spec
from pipeline.streams.dataset import BatchDataset
from pipeline.streams.input_stack import InputStack
from pipeline.streams.loader import make_loader
from pipeline.streams.patch_plan import PatchPlan
from pipeline.streams.samples import RolloutSpan, Sample
from pipeline.streams.sampling_weights import DrawKind, sampling_weights
from pipeline.streams.source import Source
from pipeline.streams.statistics import fit_stack
from pipeline.training.training_plan import TrainingPlan, plan_training
from stores.array_types import BoolArray
from stores.cube import Cube
from stores.windows import Window
from tests.make import RAIN_FILES, make_cube

SPAN, WHOLE = RolloutSpan(3, 2), Window(0, 23, 0, 31)
DATES = ["2001-03", "2004-12"]
SPLITS: dict[str, dict[str, object]] = {
    "dates": {"train": DATES},
    "fold": {"train": DATES, "folds": 3, "fold": 1},
    "blocks": {
        "train": DATES,
        "validation": DATES,  # place alone keeps it apart
        "place": {"block_px": 11, "correlation_px": 2, "shares": [0.5, 0.3, 0.2]},
    },
}
COVARIATES = [
    {"kind": "derived", "of": "season"},
    {
        "kind": "step",
        "variable": "wet",
        "future": "climatology",
        "delay": 1,
        "transform": ["trend", "anomaly", "zscore"],
    },
    {"kind": "static", "variable": "elevation"},
]

Bits = list[npt.NDArray[np.generic]]


class Fitted(NamedTuple):
    recipe: Recipe
    stack: InputStack
    source: Source
    plan: TrainingPlan


def fit(folder: Path, split: str, *, clean: Fitted | None = None) -> Fitted:
    """Fit on a cube; on one that is poisoned where the ``clean`` one may not be read."""
    cube = make_cube(
        folder,
        archive={"variables": {"wet": {"files": RAIN_FILES, "units": "1"}}},
        covariates=COVARIATES,
        target={"transform": ["sqrt", "anomaly", "minmax"], "harmonics": 2},
        training={"patch_px": 9},
    )
    changes = [f"split.{key}={json.dumps(value)}" for key, value in SPLITS[split].items()]
    recipe = load_recipe(folder / "recipe.yaml", overrides=changes)
    if clean is not None:
        assert poison_dates(recipe, cube) > 40
        outside = poison_places(cube, clean.source.part_area("train", WHOLE))
        assert (outside > 500) == (split == "blocks")
    stack = fit_stack(build_fit_spec(recipe), cube, folder / "fields.zarr", SerialExecutor())
    source = Source(cube, folder / "fields.zarr", stack)
    return Fitted(recipe, stack, source, plan_training(build_training_spec(recipe), source))


def poison_dates(recipe: Recipe, path: Path) -> int:
    """Replace every frame outside the training part by noise, the absurd and the invalid."""
    cube, rng = Cube.open(path), np.random.default_rng(7)
    outside = ~np.isin(cube.times, recipe.split.to_split().frames("train", recipe.step))
    for name in ("rain", "wet"):
        array = zarr.open_array(path / name, mode="r+")
        values = np.asarray(array[...])
        noise = rng.choice([np.nan, 1e30, -5.0, 300.0], size=values[outside].shape)
        values[outside] = noise.astype(np.float32)
        array[...] = values
    return int(outside.sum())


def poison_places(path: Path, area: BoolArray) -> int:
    """Replace every valid value outside the training area by the absurd; count their pixels.

    They stay valid, because the domain is where the target is, not what it is.
    """
    rng, n_poisoned = np.random.default_rng(8), 0
    for name in ("rain", "wet", "elevation"):
        array = zarr.open_array(path / name, mode="r+")
        values = np.asarray(array[...])
        touched = np.isfinite(values) & ~area
        values[touched] = rng.choice([1e30, -5.0, 300.0], size=touched.sum()).astype(
            values.dtype
        )
        array[...] = values
        n_poisoned += int(touched.sum())
    return n_poisoned


def bits(fitted: Fitted, samples: list[Sample], *, memory: int, kind: DrawKind | None) -> Bits:
    source = fitted.source
    chances = kind and sampling_weights(source, SPAN, samples, kind, SerialExecutor())
    plan = PatchPlan(tuple(samples), 1, 60, weights=chances, buffer=20)
    batches = BatchDataset(make_loader(source, SPAN), plan, batch=8, executor=SerialExecutor())
    batches.memory_bytes = memory
    found: Bits = []
    for batches.epoch in (0, 1):
        found += [tensor.numpy() for batch in batches for tensor in batch]
    return found


@pytest.fixture(scope="module", params=list(SPLITS))
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Fitted, Fitted]:
    folder = tmp_path_factory.mktemp("made")
    clean = fit(folder / "clean", request.param)
    return clean, fit(folder / "dirty", request.param, clean=clean)


def test_poison_outside_the_training_part_leaves_statistics_alone(
    both: tuple[Fitted, Fitted],
) -> None:
    clean, dirty = both
    assert clean.stack == dirty.stack
    chunks = [path for path in clean.source.fields.rglob("c/**/*") if path.is_file()]
    assert len(chunks) > 3
    for chunk in chunks:
        other = dirty.source.fields / chunk.relative_to(clean.source.fields)
        assert chunk.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("kind", [None, "changes", "quantiles"])
@pytest.mark.parametrize("memory", [0, 1 << 30], ids=["streamed", "memory"])
def test_poison_outside_the_training_part_leaves_its_batches_alone(
    both: tuple[Fitted, Fitted], memory: int, kind: DrawKind | None
) -> None:
    clean, dirty = both
    assert list(clean.plan.train) == list(dirty.plan.train)
    found = bits(clean, list(clean.plan.train), memory=memory, kind=kind)
    other = bits(dirty, list(dirty.plan.train), memory=memory, kind=kind)
    assert len(found) > 50
    for left, right in zip(found, other, strict=True):
        np.testing.assert_array_equal(left, right)


def test_the_poison_is_strong_enough_to_show_where_it_is_read(
    both: tuple[Fitted, Fitted],
) -> None:
    clean, dirty = both
    found = bits(clean, list(clean.plan.validation), memory=0, kind=None)
    other = bits(dirty, list(dirty.plan.validation), memory=0, kind=None)
    differ = [not np.array_equal(a, b) for a, b in zip(found, other, strict=True)]
    assert sum(differ) >= len(found) // 5
