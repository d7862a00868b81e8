from __future__ import annotations

import re
from pathlib import Path

import pytest
import zarr

from flows.forecast import forecast
from flows.train import train
from stores.bundle import MODELS, open_bundle, open_current_bundle

FOLD = ["split.folds=3", "split.fold=1"]
PLAIN = ["outputs.cog=false", "outputs.report=false"]


def recipe_of(store: Path) -> str:
    return str(store / "recipe.yaml")


def attributes_of(issue: str) -> dict[str, object]:
    return dict(zarr.open_group(f"{issue}/forecast.zarr", mode="r").attrs)


def test_the_model_of_a_fold_is_kept_and_never_becomes_current(
    store: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    before = open_current_bundle(store / "run" / MODELS, "small-rain").path
    alone = Path(train.fn(recipe_of(store), FOLD))
    several = Path(train.fn(recipe_of(store), [*FOLD, "training.runs=2"]))
    assert alone.exists()
    assert several.exists()
    assert before not in (alone, several)
    assert open_current_bundle(store / "run" / MODELS, "small-rain").path == before
    assert f"so {alone.name} does not become current" in caplog.text
    said = capsys.readouterr().out
    assert "current is" not in said
    assert f"best is {several.name}" in said


def test_the_model_of_a_fold_forecasts_only_when_it_is_named_and_the_issue_says_so(
    store: Path,
) -> None:
    fold = Path(train.fn(recipe_of(store), FOLD)).name
    plain = attributes_of(forecast.fn(recipe_of(store), PLAIN))
    assert "model_differs_from_recipe" not in plain
    assert plain["trained_on"] == "2000-01 to 2004-12"
    of_fold = attributes_of(forecast.fn(recipe_of(store), PLAIN, bundle=fold))
    assert of_fold["model_differs_from_recipe"] == "split.folds=3, split.fold=1"
    assert of_fold["trained_on"] == "2000-01 to 2001-11 and 2004-02 to 2005-12"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("split.train=[2000-01, 2004-06]", "split.train=['2000-01', '2004-12']"),
        ("rollout.history=4", "rollout.history=3"),
        ("target.transform=[zscore]", "target.transform=['log1p', 'zscore']"),
        ("split.folds=3", "split.folds=None"),
    ],
)
def test_a_current_model_that_the_recipe_does_not_describe_is_refused_before_writing(
    store: Path, change: str, named: str
) -> None:
    current = open_current_bundle(store / "run" / MODELS, "small-rain").path.name
    before = sorted(store.rglob("*"))
    with pytest.raises(ValueError, match=rf"{re.escape(named)}.*--bundle {current}"):
        forecast.fn(recipe_of(store), [*PLAIN, change])
    assert sorted(store.rglob("*")) == before
    issue = forecast.fn(recipe_of(store), [*PLAIN, change], bundle=current)
    assert attributes_of(issue)["model_differs_from_recipe"] == named


def test_a_bundle_says_how_its_split_was_written(store: Path) -> None:
    bundle = open_bundle(open_current_bundle(store / "run" / MODELS, "small-rain").path)
    assert bundle.description["split"] == bundle.description["recipe"]["split"]
