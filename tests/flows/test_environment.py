from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from flows.forecast import forecast
from flows.ingest import ingest
from flows.runtime import local_threads
from flows.sweep import sweep
from flows.train import train
from flows.train_one import find_finished_bundle
from pipeline.recipes import load_recipe
from pipeline.training import environment
from pipeline.training.environment import ComputeEnvironment, expected_environment
from pipeline.training.result_cache import FINISHED_FILE
from stores.bundle import open_bundle
from tests.make import make_recipe

SWEPT = ["training.lr=1e-3,3e-4"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> str:
    training = {"epochs": 1, "patches_per_epoch": 12, "patch_px": 8, "batch": 12}
    path = str(make_recipe(tmp_path_factory.mktemp("store"), training=training))
    ingest.fn(path)
    return path


def expected(recipe: str, *changes: str) -> ComputeEnvironment:
    asked = load_recipe(Path(recipe), overrides=changes)
    compute = asked.compute
    return expected_environment(
        compute.device,
        asked.training.precision,
        threads=local_threads(compute),
        ranks=compute.ranks,
    )


def trained(caplog: pytest.LogCaptureFixture) -> list[str]:
    told = [record.getMessage() for record in caplog.records]
    return [line.removesuffix(": training") for line in told if line.endswith(": training")]


def test_a_part_of_a_sweep_is_found_again_with_the_same_arithmetic_alone(
    recipe: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep.fn(recipe, None, None, SWEPT)
    caplog.set_level("INFO")
    caplog.clear()
    sweep.fn(recipe, None, None, SWEPT)
    assert trained(caplog) == []
    sweep.fn(recipe, ["compute.threads=2"], None, SWEPT)
    assert len(trained(caplog)) == 2
    caplog.clear()
    sweep.fn(recipe, ["compute.threads=2"], None, SWEPT)
    assert trained(caplog) == []
    monkeypatch.setattr(environment, "_name_of", lambda device: "another processor")
    asked = load_recipe(Path(recipe), overrides=["training.lr=1e-3", "compute.threads=2"])
    assert find_finished_bundle(asked) is None


def test_auto_precision_of_another_machine_is_not_taken_for_that_of_this_one(
    recipe: str,
) -> None:
    changes = ["training.runs=2", "training.seed=5"]
    train.fn(recipe, changes)
    one = load_recipe(Path(recipe), overrides=["training.seed=5"])
    found = find_finished_bundle(one)
    assert found is not None
    for path in (one.root / "training").glob(f"*-{one.fingerprint()[:8]}/{FINISHED_FILE}"):
        written = json.loads(path.read_text())
        (known,) = written["making"]["arithmetic"]
        assert known["precision"] == "32-true"
        known["precision"] = "bf16-mixed"
        path.write_text(json.dumps(written))
    assert find_finished_bundle(one) is None


def test_a_bundle_and_the_plan_of_its_forecast_say_how_it_was_computed(
    recipe: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    bundle = open_bundle(Path(train.fn(recipe, ["training.seed=3", "compute.threads=2"])))
    (written,) = bundle.description["training"]["arithmetic"]
    assert ComputeEnvironment(**written) == expected(recipe, "compute.threads=2")
    assert written["threads"] == 2
    assert f"on {expected(recipe, 'compute.threads=2')};" in caplog.text
    capsys.readouterr()
    forecast.fn(recipe, ["outputs.cog=false", "outputs.report=false"])
    assert "2 threads, precision 32-true" in " ".join(capsys.readouterr().out.split())


def test_a_training_that_goes_on_with_other_threads_names_both_and_is_not_found_again(
    recipe: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = ["training.runs=2", "training.seed=7", "training.epochs=2"]
    monkeypatch.setattr("pipeline.training.loop.crash_point", _stop_at("training.epoch.1"))
    with pytest.raises(InterruptedError):
        train.fn(recipe, changes)
    monkeypatch.undo()
    train.fn(recipe, [*changes, "compute.threads=2"])
    assert "its weights will differ from those of an undisturbed one" in caplog.text
    one = load_recipe(Path(recipe), overrides=["training.seed=7", "training.epochs=2"])
    models = one.root / "models"
    bundles = [open_bundle(path) for path in models.glob(f"{one.name}-*")]
    several = [b for b in bundles if len(b.description["training"]["arithmetic"]) == 2]
    assert len(several) == 1
    written = several[0].description["training"]["arithmetic"]
    assert [one["threads"] for one in written] == [1, 2]
    assert replace(ComputeEnvironment(**written[0]), threads=2) == ComputeEnvironment(
        **written[1]
    )
    for threads in (1, 2):
        changed = ["training.seed=7", "training.epochs=2", f"compute.threads={threads}"]
        assert find_finished_bundle(load_recipe(Path(recipe), overrides=changed)) is None


def _stop_at(place: str) -> Callable[[str], None]:
    def crash_point(name: str) -> None:
        if name == place:
            raise InterruptedError(place)

    return crash_point
