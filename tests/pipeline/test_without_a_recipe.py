"""As in a notebook: arrays in, a forecast out, and no recipe anywhere."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr

from pipeline.executors import SerialExecutor
from pipeline.memory import WorkerPool
from pipeline.models import ConvLSTMSpec
from pipeline.recipes import load_recipe
from pipeline.rollout.evaluate import evaluate_part
from pipeline.rollout.forecaster import forecaster_of
from pipeline.rollout.prepare import build_plan, build_request
from pipeline.rollout.request import EnsembleSpec, HindcastSpec, RolloutSpec
from pipeline.specs import build_rollout_spec, build_training_spec
from pipeline.split import Split
from pipeline.streams.input_stack import ForcingSpec, InputStack, VariableSpec
from pipeline.streams.spec import FitSpec, PatchSpec
from pipeline.training.bundle import train_bundle
from pipeline.training.schedule import Curriculum, Hyperparameters
from pipeline.training.spec import LossSpec, Origin, TrackSpec, TrainingSpec
from stores.archive import SourceVariable
from stores.cube import Cube
from stores.ingest import commit_cube, prepare_cube, write_frame
from stores.ingest_plan import plan_ingest
from stores.inventory import scan_archive
from stores.progress import no_progress
from stores.times import Step
from tests.make import GRID, RAIN_FILES, date_names, make_fields, make_recipe, write_tiff

MONTH = Step.parse("month")
STACK = InputStack(VariableSpec("rain"), forcings=(ForcingSpec("season"),))
SPLIT = Split(
    {
        "train": ("2000-01", "2003-12"),
        "validation": ("2004-01", "2004-12"),
        "test": ("2005-01", "2006-12"),
    }
)
TRAINING = TrainingSpec(
    name="plain",
    fingerprint="by hand",
    step=MONTH,
    fit=FitSpec(STACK, {"rain": ("log1p", "zscore")}, {"rain": "mm month-1"}, SPLIT),
    network=ConvLSTMSpec(
        len(STACK.names), history=3, hidden=(4,), head=(4,), dropout=0.0, norm="none"
    ),
    patches=PatchSpec(side_px=16),
    hyperparameters=Hyperparameters(
        Curriculum(epochs=3, leads=2, leads_start=2),
        lr=0.02,
        weight_decay=0.01,
        warmup_steps=2,
        schedule="cosine",
        clip=1.0,
    ),
    losses=(LossSpec("mse", numbers={"delta": 1.0}),),
    device="cpu",
)
ROLLOUT = RolloutSpec(
    target="rain", leads=4, minimum=0.0, members=EnsembleSpec(dropout=True), device="cpu"
)
WRITTEN = {
    "name": "plain",
    "covariates": [{"kind": "derived", "of": "season"}],
    "domain": None,
    "split": {part: list(ends) for part, ends in SPLIT.date_ranges.items()} | {"gap": 0},
    "training": {"epochs": 3, "lr": 0.02},
}
"""The same as ``TRAINING`` and ``ROLLOUT``, in the words of a recipe."""


def store(series: xr.DataArray, folder: Path) -> Cube:
    """Bring a series (time, y, x) into a cube."""
    names = date_names(RAIN_FILES, start="2000-01", n=len(series.time))
    for name, frame in zip(names, series.values, strict=True):
        write_tiff(folder / name, frame)
    rain = SourceVariable("rain", RAIN_FILES, units="mm month-1")
    inventory = scan_archive(folder, [rain], MONTH)
    plan = plan_ingest(inventory, GRID, folder / "cube.zarr")
    prepare_cube(plan)
    commit_cube(plan, [write_frame(plan, frame.variable, frame.key) for frame in plan.frames])
    return Cube.open(plan.path)


def test_a_model_is_trained_scored_and_rolled_out_from_arrays_alone(tmp_path: Path) -> None:
    months = np.arange("2000-01", "2007-01", dtype="datetime64[M]").astype("datetime64[ns]")
    fields = make_fields(len(months))
    series = xr.DataArray(fields, dims=("time", "y", "x"), coords={"time": months})
    cube = store(series, tmp_path)
    folders = (tmp_path / "models", tmp_path / "logs")
    bundle = train_bundle(TRAINING, cube, folders, executor=SerialExecutor())
    request = build_request(ROLLOUT, [bundle], cube, init="2006-06", leads=None)
    plan = build_plan(ROLLOUT, bundle, cube, 4, WorkerPool(1, 10**9), one_block=True)
    (tile,) = plan.tiles
    forecast = forecaster_of(request).forecast_physical(tile, request)
    truth = series.sel(time=slice("2006-07", "2006-10")).values
    error = np.sqrt(np.mean((forecast[0] - truth) ** 2))
    assert error < 0.8 * truth.std()
    scored = evaluate_part(
        HindcastSpec("test", SPLIT, MONTH, "mm month-1"),
        request,
        plan.tiles,
        executor=SerialExecutor(),
        on_progress=no_progress,
    )
    assert len(scored.inits) == 24 - 3 - 4 + 1
    assert set(scored.table["method"]) >= {"model", "climatology", "persistence"}


def test_a_recipe_asks_for_no_more_than_its_plain_values_say(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    recipe = load_recipe(make_recipe(tmp_path, **WRITTEN))
    spec = build_training_spec(recipe)
    assert spec.fingerprint == recipe.fingerprint()
    own = replace(spec, fingerprint=TRAINING.fingerprint, track=TrackSpec(), origin=Origin())
    assert own == TRAINING
    assert replace(build_rollout_spec(recipe), n_fields=1) == ROLLOUT
