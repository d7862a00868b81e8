from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr

from flows.check import check
from flows.evaluate import evaluate
from flows.forecast import forecast
from flows.ingest import ingest
from flows.train import train
from pipeline.recipes import RecipeError, load_recipe
from stores.bundle import open_bundle
from tests.make import make_recipe, make_tiffs

SPLIT = {
    "train": ["2000-01", "-36 months"],
    "validation": ["-34 months", "-2 years"],
    "test": ["-22 months", "newest"],
    "gap": 1,
}
PLAIN = ["outputs.cog=false", "outputs.report=false"]
N_MORE = 5


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[Path]]:
    """Train, add months, train again: the recipe and both bundles."""
    folder = tmp_path_factory.mktemp("grown")
    recipe = str(make_recipe(folder, split=SPLIT, training={"epochs": 1}))
    bundles = []
    for n_months in (96, 96 + N_MORE):
        make_tiffs(folder / "archive", n=n_months)
        ingest.fn(recipe)
        bundles.append(Path(train.fn(recipe)))
    return recipe, bundles


def split_of(bundle: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = open_bundle(bundle).description["recipe"]["split"]
    return found


def inits_of(table: str) -> list[str]:
    beside: list[str] = pd.read_json(Path(table).with_suffix(".json"), typ="series")["inits"]
    return beside


def test_a_training_moves_on_with_the_archive_and_the_bundle_names_the_dates(
    grown: tuple[str, list[Path]],
) -> None:
    recipe, (first, second) = grown
    assert split_of(first)["train"] == ["2000-01", "2004-12"]
    assert split_of(first)["validation"] == ["2005-02", "2005-12"]
    assert split_of(first)["test"] == ["2006-02", "2007-12"]
    assert split_of(second)["train"] == ["2000-01", "2005-05"]
    assert split_of(second)["test"] == ["2006-07", "2008-05"]
    descriptions = [open_bundle(path).description for path in (first, second)]
    assert [one["split"]["train"] for one in descriptions] == [SPLIT["train"]] * 2
    prints = {one["fingerprint"] for one in descriptions}
    assert prints == {load_recipe(Path(recipe)).fingerprint()}


def test_scores_are_of_frames_that_neither_bundle_learned(
    grown: tuple[str, list[Path]],
) -> None:
    recipe, bundles = grown
    for bundle, newest in zip(bundles, ("2007-12", "2008-05"), strict=True):
        inits = inits_of(evaluate.fn(recipe, None, None, bundle.name))
        last_learned = np.datetime64(split_of(bundle)["validation"][1])
        assert all(np.datetime64(init) - 2 > last_learned for init in inits)
        assert inits[-1] == str(np.datetime64(newest) - 4)
    older = "split.test=[2005-01, 2007-12]"
    with pytest.raises(ValueError, match="split leaks"):
        evaluate.fn(recipe, [older], None, bundles[0].name)
    with pytest.raises(ValueError, match=r"split.train=.*could be scored on what it learned"):
        evaluate.fn(recipe, ["split.train=[2000-01, -30 months]"], None, bundles[0].name)


def test_a_model_of_last_quarter_still_forecasts(grown: tuple[str, list[Path]]) -> None:
    recipe, (first, second) = grown
    (first.parent / "small-rain.current").write_text(f"{first.name}\n")
    issue = forecast.fn(recipe, PLAIN)
    attributes = dict(zarr.open_group(f"{issue}/forecast.zarr", mode="r").attrs)
    assert attributes["trained_on"] == "2000-01 to 2004-12"
    assert "model_differs_from_recipe" not in attributes
    (first.parent / "small-rain.current").write_text(f"{second.name}\n")


def test_check_prints_the_dates_that_would_be_learned_now(
    grown: tuple[str, list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    check(grown[0], [], None)
    said = capsys.readouterr().out
    assert "2000-01 to 2005-05: 65 frames" in said
    assert "1 thread, precision 32-true" in said
    assert "2006-07 to 2008-05: 23 frames" in said


def test_ends_that_leak_are_refused_before_a_training_writes(
    grown: tuple[str, list[Path]],
) -> None:
    recipe, _ = grown
    root = Path(recipe).parent
    before = sorted(root.rglob("*"))
    with pytest.raises(RecipeError, match=r"with the newest frame 2008-05:\n .*split leaks"):
        train.fn(recipe, ["split.train=[2000-01, -20 months]"])
    assert sorted(root.rglob("*")) == before
