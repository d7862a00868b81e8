from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from flows.forecast import forecast
from flows.ingest import ingest
from flows.sweep import sweep
from flows.train import train
from pipeline.recipes import RecipeError
from pipeline.training.compare import score_of, seed_of
from stores.bundle import Bundle, open_bundle, open_current_bundle
from stores.cube import Cube
from stores.errors import CorruptError
from stores.verify import verify
from stores.windows import Window
from tests.make import make_recipe


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ingested")
    ingest.fn(str(make_recipe(folder, training={"epochs": 1, "patches_per_epoch": 24})))
    return folder


@pytest.fixture
def store(ingested: Path, tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "store"
    shutil.copytree(ingested, folder)
    yield folder
    shutil.rmtree(folder)


def recipe_of(store: Path) -> str:
    return str(store / "recipe.yaml")


def bundles_of(store: Path) -> list[Bundle]:
    return [open_bundle(path) for path in sorted((store / "run/models").glob("small-rain-*"))]


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# A flow in a process of its own, which dies in the training of one label.
SCRIPT = """
import importlib, os, sys
name, label, place, recipe, *given = sys.argv[1:]
module = importlib.import_module(f"flows.{name}")
run_training = module.run_training
def watched(training):
    if training.label == label:
        os.environ["CUBECAST_CRASH_AT"] = place
    return run_training(training)
module.run_training = watched
getattr(module, name).fn(recipe, *map(eval, given))
"""


def kill(flow: str, label: str, place: str, *given: object) -> None:
    command = [sys.executable, "-c", SCRIPT, flow, label, place, *map(str, given)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


def trained(caplog: pytest.LogCaptureFixture) -> list[str]:
    """List the labels of what was trained, not found."""
    told = [record.getMessage() for record in caplog.records]
    return [line.removesuffix(": training") for line in told if line.endswith(": training")]


def test_several_seeds_are_compared_and_the_best_becomes_current(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = train.fn(recipe_of(store), ["training.runs=3"])
    bundles = bundles_of(store)
    assert sorted(map(seed_of, bundles)) == [0, 1, 2]
    scores = [score_of(bundle) for bundle in bundles]
    assert len(set(scores)) == 3
    current = open_current_bundle(store / "run/models", "small-rain")
    assert score_of(current) == min(scores)
    assert current.path == Path(path)
    said = capsys.readouterr().out
    mean, spread = pd.Series(scores).mean(), pd.Series(scores).std()
    assert re.search(rf"mean .* {mean:.4g} ", said)
    assert re.search(rf"std .* {spread:.4g} ", said)


def test_one_of_several_is_the_bundle_of_its_seed_alone(store: Path) -> None:
    train.fn(recipe_of(store), ["training.runs=2"])
    both = {seed_of(bundle): bundle.digest for bundle in bundles_of(store)}
    shutil.rmtree(store / "run/training")
    alone = open_bundle(Path(train.fn(recipe_of(store), ["training.seed=1"])))
    assert alone.digest == both[1] != both[0]


@pytest.mark.slow
def test_the_line_that_is_printed_forecasts_with_all_seeds(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train.fn(recipe_of(store), ["training.runs=3"])
    (line,) = re.findall(r"^ *(cubecast forecast .*)$", capsys.readouterr().out, re.MULTILINE)
    command, name, recipe, *words = shlex.split(line)
    assert (command, name, recipe) == ("cubecast", "forecast", recipe_of(store))
    changes = [word for word in words if word != "--set"]
    issue = Path(forecast.fn(recipe, changes, init="2006-12"))
    assert verify(issue) == []
    assert "rollout.members=3" in changes


def test_networks_of_quantiles_are_not_forecast_together(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loss = "training.loss={kind: quantile, quantiles: [0.1, 0.5, 0.9]}"
    train.fn(recipe_of(store), ["training.runs=2", "training.epochs=1", loss])
    said = capsys.readouterr().out
    assert (
        f"current is {open_current_bundle(store / 'run/models', 'small-rain').path.name}"
        in said
    )
    assert "cubecast forecast" not in said


@pytest.mark.slow
def test_a_kill_costs_neither_seeds_that_are_finished_nor_epochs(
    store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changes = ["training.runs=3", "training.epochs=2"]
    before = train.fn(recipe_of(store), ["training.epochs=1"])
    kill("train", "seed=1", "training.epoch.1", recipe_of(store), changes)
    assert open_current_bundle(store / "run/models", "small-rain").path == Path(before)
    caplog.set_level("INFO")
    train.fn(recipe_of(store), changes)
    assert trained(caplog) == ["seed=1", "seed=2"]
    assert "resuming after epoch 1, saved in" in caplog.text
    shutil.rmtree(store / "run/training")
    alone = train.fn(recipe_of(store), ["training.seed=1", "training.epochs=2"])
    found = [b.path for b in bundles_of(store) if b.path.name != Path(before).name]
    assert len(found) == 3
    assert Path(alone) in found


def test_more_seeds_train_only_those_that_are_new(
    store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    train.fn(recipe_of(store), ["training.runs=2"])
    assert trained(caplog) == ["seed=0", "seed=1"]
    caplog.clear()
    train.fn(recipe_of(store), ["training.runs=3"])
    assert trained(caplog) == ["seed=2"]


@pytest.mark.slow
def test_a_seed_whose_bundle_is_gone_is_trained_again_and_a_damaged_one_is_named(
    store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train.fn(recipe_of(store), ["training.runs=2"])
    (lost,) = (b.path for b in bundles_of(store) if seed_of(b) == 1)
    lost.rename(store / "moved")
    caplog.clear()
    train.fn(recipe_of(store), ["training.runs=2"])
    assert trained(caplog) == ["seed=1"]
    assert "is gone, so it is trained again" in caplog.text
    (lost / "model.safetensors").unlink()
    with pytest.raises(CorruptError, match=r"model\.safetensors is missing"):
        train.fn(recipe_of(store), ["training.runs=2"])


def test_a_sweep_ranks_all_combinations_and_leaves_the_current_bundle(
    store: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("INFO")
    before = train.fn(recipe_of(store))
    asked = ["model.hidden=[4],[2]", "training.lr=1e-2,1e-5"]
    table = pd.read_csv(sweep.fn(recipe_of(store), ["training.seed=3"], None, asked), dtype=str)
    assert list(table.columns[:3]) == ["model.hidden", "training.lr", "validation_loss"]
    scores = table["validation_loss"].astype(float)
    assert len(set(scores)) == 4
    assert list(scores) == sorted(scores)
    assert {*zip(table["model.hidden"], table["training.lr"], strict=True)} == {
        *(("[4]", "1e-2"), ("[4]", "1e-5"), ("[2]", "1e-2"), ("[2]", "1e-5"))
    }
    assert open_current_bundle(store / "run/models", "small-rain").path == Path(before)
    for text in ("4 combinations, 4 trainings, 0 of them finished", "s; 3 left, about"):
        assert text in caplog.text
    (line,) = re.findall(r"^ *(cubecast train .*)$", capsys.readouterr().out, re.MULTILINE)
    changes = [word for word in shlex.split(line)[3:] if word != "--set"]
    caplog.clear()
    winner = Path(train.fn(recipe_of(store), changes))
    assert winner.name == table["bundles"][0]
    assert "trained already" in caplog.text
    assert open_current_bundle(store / "run/models", "small-rain").path == winner


def test_a_sweep_never_reads_the_test_part(store: Path) -> None:
    chunks = store / "run/cube.zarr/rain/c"
    for frame in chunks.iterdir():
        if int(frame.name) >= 12 * 6 + 1:  # from 2006-02 on
            shutil.rmtree(frame)
    cube = Cube.open(store / "run/cube.zarr")
    with pytest.raises(CorruptError):
        cube.read("rain", Window(0, 5, 0, 5), cube.times[-1:])
    table = pd.read_csv(sweep.fn(recipe_of(store), None, None, ["training.lr=1e-2,1e-5"]))
    assert table["validation_loss"].notna().all()


def test_a_sweep_over_several_seeds_ranks_by_their_mean(store: Path) -> None:
    asked = ["training.lr=1e-2,1e-5"]
    table = pd.read_csv(sweep.fn(recipe_of(store), ["training.runs=2"], None, asked))
    for _, row in table.iterrows():
        names = row["bundles"].split()
        scores = pd.Series([score_of(b) for b in bundles_of(store) if b.path.name in names])
        assert len(scores) == 2
        assert row["validation_loss"] == pytest.approx(scores.mean())
        assert row["validation_loss_spread"] == pytest.approx(scores.std())


@pytest.mark.slow
def test_a_sweep_goes_on_where_it_was_killed_and_takes_further_values(
    store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = ["training.lr=1e-2,1e-5"]
    second = "training.lr=1e-5 seed=0"
    kill("sweep", second, "training.step.3", recipe_of(store), None, None, asked)
    assert len(pd.read_csv(store / "run/sweeps/small-rain.csv")) == 1
    caplog.set_level("INFO")
    sweep.fn(recipe_of(store), None, None, asked)
    assert trained(caplog) == [second]
    caplog.clear()
    table = pd.read_csv(sweep.fn(recipe_of(store), None, None, ["training.lr=1e-2,1e-5,1e-3"]))
    assert trained(caplog) == ["training.lr=1e-3 seed=0"]
    assert len(table) == 3


def test_a_combination_that_runs_away_is_told_and_the_others_are_ranked(store: Path) -> None:
    asked = ["training.lr=1e30,1e-3"]
    changes = ["training.clip=0", "training.warmup_steps=0"]
    table = pd.read_csv(sweep.fn(recipe_of(store), changes, None, asked))
    assert table["validation_loss"].notna().tolist() == [True, False]
    assert "the loss is" in table["note"][1] or "gradient is" in table["note"][1]


@pytest.mark.parametrize(
    ("asked", "changes", "message"),
    [
        (["training.lrr=1e-3,1e-4"], [], "did you mean 'lr'"),
        (["modl.hidden=[8],[16]"], [], "did you mean 'model'"),
        (["training.lr=1e-3,-1"], [], "training.lr: -1 is not more than 0; write"),
        (["compute.workers=0,1"], [], "are the same training"),
        (["training.loss.kind=mse,mae"], [], "differ in training.loss.*score={kind: rmse"),
        (["target.transform=[zscore],[log1p]"], [], "differ in target.transform"),
        (["training.leads=1,2"], ["training.score={kind: rmse}"], "the lead of"),
        (
            ["split.validation=[2005-02, 2005-12],[2006-02, 2006-12]"],
            [],
            "share|differ in|split",
        ),
    ],
)
def test_a_sweep_that_cannot_be_done_is_refused_before_anything_is_written(
    store: Path, asked: list[str], changes: list[str], message: str
) -> None:
    before = tree(store)
    with pytest.raises((RecipeError, ValueError), match=message):
        sweep.fn(recipe_of(store), changes, None, asked)
    assert tree(store) == before


def test_losses_of_several_kinds_are_ranked_by_one_yardstick(
    store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = ["training.loss.kind=mse,mae", "training.patch_px=16,20"]
    yardstick = ["training.score={kind: rmse, lead: 1}"]
    table = pd.read_csv(sweep.fn(recipe_of(store), yardstick, None, asked))
    assert list(table["validation_rmse"]) == sorted(table["validation_rmse"])
    assert "training.patch_px decides which samples validate" in caplog.text


def test_a_sweep_needs_a_cube_first(tmp_path: Path) -> None:
    recipe = str(make_recipe(tmp_path))
    with pytest.raises(CorruptError, match="cubecast ingest"):
        sweep.fn(recipe, None, None, ["training.lr=1e-3,1e-4"])
