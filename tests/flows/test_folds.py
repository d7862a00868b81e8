from __future__ import annotations

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from flows.evaluate import evaluate
from flows.ingest import ingest
from flows.sweep import sweep
from flows.train import train
from pipeline.training.compare import score_of
from stores.bundle import open_bundle, open_current_bundle
from tests.make import make_recipe

FOLDS = "split.fold=0,1,2"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    ingest.fn(str(make_recipe(folder, training={"epochs": 1, "patches_per_epoch": 24})))
    return folder


def recipe_of(store: Path) -> str:
    return str(store / "recipe.yaml")


@pytest.mark.parametrize(
    "place",
    [
        [],
        ["split.place={block_px: 7, correlation_px: 2, shares: [0.5, 0.25, 0.25]}"],
    ],
    ids=["dates", "blocks"],
)
def test_a_sweep_over_folds_gives_their_mean_and_spread(
    store: Path, capsys: pytest.CaptureFixture[str], place: list[str]
) -> None:
    changes = ["split.folds=3", "training.patch_px=4", *place]
    path = Path(sweep.fn(recipe_of(store), changes, None, [FOLDS]))
    each, (row,) = (
        pd.read_csv(path.with_suffix(".folds.csv")),
        pd.read_csv(path).to_dict("records"),
    )
    assert each["fold"].tolist() == [0, 1, 2]
    bundles = [open_bundle(store / "run/models" / name) for name in each["bundle"]]
    scores = pd.Series([score_of(bundle) for bundle in bundles])
    assert len(set(scores)) == 3
    assert each["validation_loss"].tolist() == pytest.approx(scores.tolist())
    assert row["validation_loss"] == pytest.approx(scores.mean())
    assert row["validation_loss_spread"] == pytest.approx(scores.std())
    said = capsys.readouterr().out
    assert re.search(rf"mean .* {scores.mean():.4g} ", said)
    assert re.search(rf"std .* {scores.std():.4g} ", said)


def test_values_are_ranked_by_their_mean_over_the_folds_and_trained_without_them(
    store: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    asked = [FOLDS, "training.lr=1e-3,1e-5"]  # the first one is trained already
    path = sweep.fn(recipe_of(store), ["split.folds=3", "training.patch_px=4"], None, asked)
    table, each = pd.read_csv(path), pd.read_csv(Path(path).with_suffix(".folds.csv"))
    means = each.groupby("training.lr")["validation_loss"].mean()
    assert len(table) == 2
    assert len(each) == 6
    assert table["validation_loss"].tolist() == pytest.approx(sorted(means))
    assert table["training.lr"][0] == means.idxmin()
    (line,) = re.findall(r"^ *(cubecast train .*)$", capsys.readouterr().out, re.MULTILINE)
    changes = [word for word in shlex.split(line)[3:] if word != "--set"]
    caplog.set_level("INFO")
    bundle = open_bundle(Path(train.fn(recipe_of(store), changes)))
    assert bundle.path == open_current_bundle(store / "run/models", "small-rain").path
    assert bundle.description["recipe"]["split"]["folds"] is None
    assert "learning from 2000-01 to 2004-12, validating on 2005-02 to 2005-12" in caplog.text


@pytest.mark.parametrize(
    ("asked", "changes", "message"),
    [
        ([FOLDS], [], "without split.folds"),
        (["split.fold=0,3"], ["split.folds=3"], "choose one from 0 to 2"),
        (["split.folds=2,3"], [], "differ in split.folds"),
        (
            ["split.place.seed=0,1"],
            ["split.place={block_px: 18, correlation_px: 2}"],
            "differ in split.place",
        ),
    ],
)
def test_folds_that_cannot_be_compared_are_refused(
    store: Path, asked: list[str], changes: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        sweep.fn(recipe_of(store), changes, None, asked)


def test_the_model_of_a_fold_is_scored_with_its_own_split_alone(store: Path) -> None:
    changes = ["split.folds=3", "split.fold=1"]
    bundle = Path(train.fn(recipe_of(store), changes)).name
    with pytest.raises(ValueError, match=r"trained with split.folds=3, split.fold=1, and the"):
        evaluate.fn(recipe_of(store), None, None, bundle)
    table = pd.read_csv(evaluate.fn(recipe_of(store), changes, None, bundle))
    assert table["rmse"].notna().all()
