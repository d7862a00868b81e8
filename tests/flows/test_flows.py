from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import xarray as xr

from flows.demo import demo
from flows.evaluate import evaluate
from flows.forecast import forecast
from flows.importance import importance
from flows.ingest import ingest
from flows.steps import issue as issue_steps
from flows.train import train
from pipeline.rollout.engine import RolloutProgress, roll_out
from stores.cube import Cube
from stores.errors import ArchiveError, CorruptError, GridError
from stores.manifest import read_manifest
from stores.verify import verify
from tests.make import GRID, make_recipe, make_tiffs, write_tiff
from tests.make_flow import INIT, kill_forecast, recipe_of, tree


def zarr_chunks(issue: Path) -> int:
    """Count the files of one frame."""
    return len(list((issue / "forecast.zarr/rain/c/0").rglob("*/*")))


def is_worker(process: psutil.Process) -> bool:
    return "spawn_main" in " ".join(process.cmdline())


def test_the_whole_job_publishes_a_sound_issue_and_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = str(make_recipe(tmp_path, training={"epochs": 1}, outputs={"report": True}))
    issue = Path(demo.fn(recipe, None, str(tmp_path / "root")))
    assert issue == tmp_path / "root" / "issues" / "small-rain" / "2007-08"
    assert verify(tmp_path / "root") == []
    opened = xr.open_zarr(issue / "forecast.zarr")
    assert opened["rain"].dims == ("time", "y", "x")
    assert opened["rain"].shape == (4, 23, 31)
    inside = opened["domain"].to_numpy() == 1
    values = opened["rain"].to_numpy()
    assert inside.any()
    assert not inside.all()
    assert np.isfinite(values[:, inside]).all()
    assert np.isnan(values[:, ~inside]).all()
    assert len(list((issue / "cog").glob("*.tif"))) == 3 * 4  # forecast, lower, upper
    said = capsys.readouterr().out
    for name in ("persistence", "climatology", "report.html", "catalog.json", "xr.open_zarr"):
        assert name in said


def test_the_same_forecast_twice_is_one_issue(store: Path) -> None:
    first = forecast.fn(recipe_of(store), init=INIT)
    before = tree(store / "run")
    assert forecast.fn(recipe_of(store), init=INIT) == first
    assert tree(store / "run") == before
    assert [path.name for path in (store / "run/issues/small-rain").glob("*/")] == [INIT]


def test_a_forecast_that_is_published_already_needs_nothing_that_draws(store: Path) -> None:
    first = forecast.fn(recipe_of(store), init=INIT)
    script = (
        "import sys; from flows.forecast import forecast; "
        f"print(forecast.fn({recipe_of(store)!r}, init={INIT!r})); "
        "sys.exit('matplotlib' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert first in done.stdout


def test_a_run_that_finds_its_issue_published_leaves_its_report_too(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[dict[str, object]] = []
    for module in ("forecast", "steps.page"):
        monkeypatch.setattr(f"flows.{module}.in_run", lambda: True)
    monkeypatch.setattr(
        "flows.steps.page.create_image",
        lambda key, png, **said: left.append({"key": key, "png": png[:4], **said}),
    )
    page = ["outputs.report=true"]
    issue = forecast.fn(recipe_of(store), page, init=INIT)
    assert [one["key"] for one in left] == ["report"]
    assert forecast.fn(recipe_of(store), page, init=INIT) == issue
    assert left[1:] == left[:1]


def test_a_forecast_without_init_starts_from_the_last_frame_of_the_target(store: Path) -> None:
    assert Path(forecast.fn(recipe_of(store), leads=2)).name == "2007-12"


def test_other_leads_of_one_init_are_a_revision_beside_it(store: Path) -> None:
    forecast.fn(recipe_of(store), init=INIT)
    again = Path(forecast.fn(recipe_of(store), init=INIT, leads=2))
    assert again.name == f"{INIT}.r2"
    assert (again.parent / INIT).is_dir()


def test_a_forecast_can_prepare_what_is_missing(tmp_path: Path) -> None:
    recipe = str(make_recipe(tmp_path, training={"epochs": 1}))
    issue = Path(forecast.fn(recipe, prepare=True))
    assert verify(issue) == []
    before = tree(tmp_path)
    assert forecast.fn(recipe, prepare=True) == str(issue)
    assert tree(tmp_path) == before


@pytest.mark.slow
def test_the_report_says_whether_the_model_was_scored(store: Path) -> None:
    page = ["outputs.report=true"]
    unscored = Path(forecast.fn(recipe_of(store), page, init=INIT)) / "report.html"
    assert "has not been scored" in unscored.read_text()
    table = pd.read_csv(evaluate.fn(recipe_of(store)))
    assert set(table["method"]) >= {"model", "persistence", "climatology"}
    scored = Path(forecast.fn(recipe_of(store), page, init="2007-01")) / "report.html"
    assert "has not been scored" not in scored.read_text()
    assert "Skill" in scored.read_text()
    links = re.findall(r'<a href="([^#"]*)"', scored.read_text())
    assert links == ["forecast.zarr/", "cog/", "item.json"]
    assert all((scored.parent / link).exists() for link in links)
    assert re.search(r"Made \d{4}-\d{2}-\d{2} \d{2}:\d{2} UTC", scored.read_text())


def test_importances_are_kept_beside_the_scores_and_say_what_could_be_dropped(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(importance.fn(recipe_of(store), repeats=2))
    assert path.parent.parent == store / "run" / "scores"
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "importance.csv",
        "importance.json",
        "importance.png",
    ]
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert set(pd.read_csv(path)["covariate"]) == {"history", "season", "elevation", "lonlat"}
    said = capsys.readouterr().out
    assert "5 forecasts of the validation part" in " ".join(said.split())
    assert "RMSE rise [mm month" in " ".join(said.split())
    assert "on the validation part" in said


def test_outputs_that_are_not_asked_for_are_left_out(store: Path) -> None:
    plain = ["outputs.cog=false", "outputs.report=false"]
    issue = Path(forecast.fn(recipe_of(store), plain, init=INIT))
    names = [path.name for path in issue.iterdir()]
    assert sorted(names) == ["forecast.zarr", "item.json", "manifest.json"]
    assert verify(issue) == []


def test_a_cube_is_needed_first_and_nothing_is_written(tmp_path: Path) -> None:
    recipe = str(make_recipe(tmp_path))
    before = tree(tmp_path)
    for flow in (train, evaluate, importance, forecast):
        with pytest.raises(CorruptError, match=r"does not exist.*cubecast ingest"):
            flow.fn(recipe)
    assert tree(tmp_path) == before


def test_a_model_is_needed_first_and_nothing_is_written(store: Path) -> None:
    shutil.rmtree(store / "run" / "models")
    before = tree(store)
    with pytest.raises(ValueError, match=r"no bundle 'small-rain'.*cubecast train"):
        forecast.fn(recipe_of(store))
    assert tree(store) == before


def test_an_init_without_enough_history_is_refused_and_nothing_is_written(store: Path) -> None:
    before = tree(store)
    with pytest.raises(ValueError, match=r"init=2000-02 has not enough history.*2000-03"):
        forecast.fn(recipe_of(store), init="2000-02")
    with pytest.raises(ValueError, match="init=2031-01 is not in the cube"):
        forecast.fn(recipe_of(store), init="2031-01")
    assert tree(store) == before


def test_a_model_of_another_grid_is_refused(store: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    grid = {"like": None, "crs": "EPSG:4326", "shape": [21, 29]}
    recipe = make_recipe(other, grid=grid | {"transform": [0.1, 0, 10.1, 0, -0.1, 49.9]})
    ingest.fn(str(recipe))
    shutil.copytree(store / "run" / "models", other / "run" / "models")
    with pytest.raises(GridError, match=r"trained on grid .* but cube is .*train again"):
        forecast.fn(str(recipe))


def test_a_bad_archive_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    recipe = str(make_recipe(tmp_path))
    (tmp_path / "archive/rain/rain_2003.05.tif").unlink()
    before = tree(tmp_path)
    with pytest.raises(ArchiveError, match=r"2003-05.*archive.gaps: accept"):
        ingest.fn(recipe)
    assert tree(tmp_path) == before
    ingest.fn(recipe, ["archive.gaps=accept"])


def test_new_months_reach_the_next_forecast_in_one_process(store: Path) -> None:
    assert Path(forecast.fn(recipe_of(store))).name == "2007-12"
    frames = store / "archive/rain"
    shutil.copy(frames / "rain_2007.01.tif", frames / "rain_2008.01.tif")
    ingest.fn(recipe_of(store))
    assert Path(forecast.fn(recipe_of(store))).name == "2008-01"


@pytest.mark.slow
def test_workers_that_are_killed_meanwhile_give_the_numbers_of_one_process(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiles = ["rollout.tile_px=8", "outputs.cog=false", "outputs.report=false"]
    alone = Path(forecast.fn(recipe_of(store), tiles, init=INIT))
    assert zarr_chunks(alone) == 12  # not trivial: 3 x 4 tiles
    digests = read_manifest(alone)["files"]
    shutil.rmtree(store / "run" / "issues")
    killed: list[int] = []

    def roll_and_kill(*args: Any, **kwargs: Any) -> Iterator[RolloutProgress]:
        for progress in roll_out(*args, **kwargs):
            if progress.pixels and not killed:
                worker = next(p for p in psutil.Process().children() if is_worker(p))
                worker.kill()
                killed.append(worker.pid)
            yield progress

    monkeypatch.setattr("flows.steps.issue.roll_out", roll_and_kill)
    monkeypatch.setattr("flows.workers.WORKER_START_S", 0.0)  # so little work needs no workers
    workers = ["compute.workers=2", "compute.threads=1", *tiles]
    together = Path(forecast.fn(recipe_of(store), workers, init=INIT))
    assert killed
    assert read_manifest(together)["files"] == digests


@pytest.mark.slow
def test_a_forecast_that_was_killed_is_finished_by_the_next_run(store: Path) -> None:
    whole = Path(forecast.fn(recipe_of(store), init=INIT))
    digests = read_manifest(whole)["files"]
    shutil.rmtree(store / "run" / "issues")
    assert kill_forecast(store, "publish.rename") == -signal.SIGKILL
    assert not list((store / "run" / "issues").glob("*"))
    issue = Path(forecast.fn(recipe_of(store), init=INIT))
    assert verify(issue) == []
    assert read_manifest(issue)["files"] == digests
    assert list((store / "run" / ".staging").iterdir()) == []
    assert json.loads((store / "run/catalog.json").read_text())["cubecast:latest"] == {
        "small-rain": f"small-rain/{INIT}"
    }


def test_tiles_marked_as_done_are_forgotten_with_the_store_they_were_in(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(stage: Path, *_: object) -> None:
        raise InterruptedError(str(stage))

    with monkeypatch.context() as patched:
        patched.setattr(issue_steps, "commit_forecast", fail)  # all tiles are written
        with pytest.raises(InterruptedError):
            forecast.fn(recipe_of(store), init=INIT)
    (ledger,) = (store / "run" / ".staging").glob("*/ledger")
    assert any(ledger.iterdir())
    # Another size of tiles is another layout: the store starts anew, and so must its ledger.
    issue = Path(forecast.fn(recipe_of(store), ["rollout.tile_px=48"], init=INIT))
    assert verify(issue) == []


def test_ingest_into_an_unchanged_cube_writes_nothing(store: Path) -> None:
    before = tree(store / "run" / "cube.zarr")
    version = Cube.open(store / "run" / "cube.zarr").version
    assert ingest.fn(recipe_of(store)) == version
    assert tree(store / "run" / "cube.zarr") == before


def test_a_truncated_file_and_another_crs_are_named_together(tmp_path: Path) -> None:
    recipe = str(make_recipe(tmp_path))
    rain = tmp_path / "archive/rain"
    whole = (rain / "rain_2001.03.tif").read_bytes()
    (rain / "rain_2001.03.tif").write_bytes(whole[: len(whole) // 2])
    utm = type(GRID)(GRID.shape, GRID.affine, "EPSG:32632")
    (moved,) = make_tiffs(tmp_path / "utm", n=1, grid=utm)
    shutil.copy(moved, rain / "rain_2001.04.tif")
    write_tiff(rain / "rain_2001.05.tif", np.full(GRID.shape, np.nan, "float32"), nodata=-1.0)
    with pytest.raises(ArchiveError, match="3 problems") as refused:
        ingest.fn(recipe)
    for date in ("2001-03", "2001-04", "2001-05", "EPSG:32632"):
        assert date in str(refused.value)
