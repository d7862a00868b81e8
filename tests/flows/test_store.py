from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
import rasterio
import xarray as xr

from flows.clean import clean
from flows.forecast import forecast
from flows.ingest import ingest
from flows.train import train
from stores.bundle import open_bundle
from stores.errors import CorruptError, GridError
from stores.manifest import read_manifest
from stores.verify import verify
from tests.flows.test_cli import cubecast
from tests.make import make_recipe
from tests.make_flow import INIT, kill_forecast, recipe_of, tree

OTHER = "name=other-rain"
PLAIN = ["outputs.cog=false", "outputs.report=false"]
GRID = {"like": None, "crs": "EPSG:4326", "shape": [21, 29]}


def look_clean(what: Path | str, *, dry_run: bool = False, older_than: str = "0d") -> None:
    clean(
        str(what),
        dry_run=dry_run,
        older_than=older_than,
        keep_revisions=None,
        keep_bundles=None,
    )


def test_two_recipes_on_one_root_do_not_deprecate_each_other(store: Path) -> None:
    first = Path(forecast.fn(recipe_of(store), PLAIN, init=INIT))
    train.fn(recipe_of(store), [OTHER])
    other = Path(forecast.fn(recipe_of(store), [OTHER, *PLAIN], init=INIT))
    issues = store / "run/issues"
    assert (first, other) == (issues / "small-rain" / INIT, issues / "other-rain" / INIT)
    catalog = json.loads((store / "run/catalog.json").read_text())
    latest = [link["href"] for link in catalog["links"] if link["rel"] == "latest"]
    assert [(store / "run" / href).parent for href in latest] == [other, first]
    for name in ("small-rain", "other-rain"):
        links = json.loads((issues / name / "catalog.json").read_text())["links"]
        assert not any(link.get("deprecated") for link in links)
    assert verify(store / "run") == []


def test_a_recipe_on_the_root_of_another_grid_is_refused_and_nothing_is_written(
    store: Path,
) -> None:
    grid = GRID | {"transform": [0.1, 0, 10.1, 0, -0.1, 49.9]}
    recipe = str(make_recipe(store, name="other-rain", grid=grid))
    before = tree(store)
    with pytest.raises(GridError, match=r"run/cube.zarr serves all recipes .* with --root"):
        ingest.fn(recipe)
    for flow in (train, forecast):
        with pytest.raises(GridError, match=r"another recipe made it: .*/run with --root"):
            flow.fn(recipe)
    assert tree(store) == before


def test_a_recipe_on_the_root_of_another_brings_what_the_cube_lacks(store: Path) -> None:
    basins = {"files": "basins.tif", "units": "1", "kind": "classes"}
    recipe = str(
        make_recipe(store, name="other-rain", archive={"variables": {"basins": basins}})
    )
    with pytest.raises(ValueError, match=r"lacks basins.*cubecast ingest RECIPE"):
        train.fn(recipe)
    ingest.fn(recipe)
    assert open_bundle(Path(train.fn(recipe))).name == "other-rain"


def test_a_root_of_an_earlier_layout_is_refused_with_what_to_do(store: Path) -> None:
    issue = store / "run/issues" / INIT
    issue.mkdir(parents=True)
    (issue / "manifest.json").write_text("{}")
    before = tree(store)
    with pytest.raises(CorruptError, match=rf"holds {INIT} beside .* move them away \(mv "):
        forecast.fn(recipe_of(store), init=INIT)
    assert tree(store) == before


@pytest.mark.slow
def test_an_ensemble_names_all_its_bundles_wherever_it_is_described(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = open_bundle(next((store / "run/models").glob("small-rain-*")))
    second = open_bundle(Path(train.fn(recipe_of(store), ["training.seed=7"])))
    both = (second, first)
    capsys.readouterr()
    asked = ["rollout.members=2", f"rollout.bundles=[{first.path.name}]", "outputs.report=true"]
    issue = Path(forecast.fn(recipe_of(store), asked, init=INIT))
    parameters = first.description["training"]["parameters"]
    expected = [
        {
            "folder": bundle.path.name,
            "digest": bundle.digest,
            "family": "convlstm",
            "parameters": parameters,
            "best_epoch": 1,
            "epochs": 1,
        }
        for bundle in both
    ]
    manifest, item = read_manifest(issue), json.loads((issue / "item.json").read_text())
    said = item["properties"]
    assert manifest["bundles"] == said["cubecast:bundles"] == expected
    assert manifest["members"] == said["cubecast:members"] == 2
    attributes = xr.open_zarr(issue / "forecast.zarr").attrs
    assert attributes["bundles"] == [bundle.path.name for bundle in both]
    assert attributes["bundle_digests"] == [bundle.digest for bundle in both]
    assert attributes["members"] == 2
    told, page = capsys.readouterr().out, (issue / "report.html").read_text()
    for bundle in both:
        assert bundle.path.name in told
        assert f"{bundle.path.name}: convlstm, {parameters} parameters, epoch 1 of 1" in page
    with rasterio.open(next((issue / "cog").glob("*.tif"))) as cog:
        assert cog.tags()["bundles"] == f"{second.digest}, {first.digest}"


@pytest.mark.slow
def test_pictures_and_verify_take_a_recipe_and_pictures_leave_out_what_is_no_issue(
    store: Path,
) -> None:
    small = ["--out", str(store / "drawn"), "--dpi", "20"]
    assert "has published nothing in" in cubecast("pictures", recipe_of(store), *small).stderr
    forecast.fn(recipe_of(store), PLAIN, init=INIT)
    newest = Path(forecast.fn(recipe_of(store), PLAIN, init=INIT, leads=2))
    assert newest.name == f"{INIT}.r2"  # not trivial: another revision stands beside it
    done = cubecast("pictures", recipe_of(store), *small)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (store / "drawn").iterdir()] == [newest.name]
    shelf = [str(path) for path in sorted(newest.parent.iterdir())]
    done = cubecast("pictures", *shelf, *small)
    assert done.returncode == 0, done.stderr
    assert "catalog.json holds no issue: left out" in done.stderr.replace("\n", " ")
    assert sorted(path.name for path in (store / "drawn").iterdir()) == [INIT, newest.name]
    done = cubecast("pictures", str(newest.parent / "catalog.json"), *small)
    assert done.returncode == 1
    assert "catalog.json holds no issue, so there is nothing to draw" in done.stderr
    sound = cubecast("verify", recipe_of(store))
    assert sound.returncode == 0, sound.stdout
    assert f"{store / 'run'}: sound" in sound.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "point", ["publish.rest", pytest.param("discard.rename", marks=pytest.mark.slow)]
)
def test_what_a_crash_behind_the_publishing_rename_leaves_goes_with_the_next_forecast(
    store: Path, point: str
) -> None:
    blocks = ["rollout.tile_px=16", "rollout.block_leads=2", *PLAIN]  # with a scratch store
    staging = store / "run/.staging"
    assert kill_forecast(store, point, blocks) == -signal.SIGKILL
    assert {path.name for path in staging.glob("*/*")} == {"scratch.zarr", "ledger", "key.json"}
    forecast.fn(recipe_of(store), PLAIN, init="2007-01")
    assert list(staging.iterdir()) == []
    assert verify(store / "run") == []


@pytest.mark.slow
def test_a_stage_that_nobody_finishes_goes_after_the_days_of_the_recipe(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kill_forecast(store, "publish.rename", PLAIN) == -signal.SIGKILL
    (stage,) = (store / "run/.staging").iterdir()
    forecast.fn(recipe_of(store), PLAIN, init="2007-01")
    before = tree(store)
    look_clean(store / "run", older_than="7d")
    assert tree(store) == before  # younger than 7 days: its rerun may come
    assert "a rerun would go on with it" in capsys.readouterr().out
    for path in (*stage.rglob("*"), stage):
        os.utime(path, (time.time() - 3 * 86400,) * 2)
    look_clean(recipe_of(store), dry_run=True, older_than="2d")
    said = " ".join(capsys.readouterr().out.split())
    assert "1 would go" in said
    assert "nobody touched it for 3 days" in said
    assert tree(store) == before
    forecast.fn(recipe_of(store), ["outputs.keep.days=2", *PLAIN], init="2007-01")
    assert not stage.exists()


def test_cleaning_keeps_all_that_is_published_and_says_why(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forecast.fn(recipe_of(store), PLAIN, init=INIT)
    forecast.fn(recipe_of(store), PLAIN, init=INIT, leads=2)
    before = tree(store)
    look_clean(store / "run")
    said = " ".join(capsys.readouterr().out.split())
    assert "no policy for revisions" in said
    assert "0 removed" in said
    assert tree(store) == before
    clean(recipe_of(store), dry_run=False, older_than="0d", keep_revisions=1, keep_bundles=None)
    assert "2006-12.r2 is current" in " ".join(capsys.readouterr().out.split())
    assert verify(store / "run") == []
    with pytest.raises(ValueError, match="'7 weeks' is no age"):
        look_clean(store / "run", older_than="7 weeks")


def test_a_folder_that_is_not_there_is_not_taken_for_a_recipe(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing is no folder, so there is nothing to clean"):
        look_clean(tmp_path / "nothing")
