from __future__ import annotations

import importlib
import os
import re
import shutil
from pathlib import Path

import pytest
import torch

from flows.check import check
from flows.evaluate import evaluate
from flows.forecast import forecast
from flows.ingest import ingest
from flows.resolve import open_recipe
from flows.train import train
from flows.verify import verify
from pipeline.models import ConvLSTMSpec, build_meta_network, count_parameters
from pipeline.recipes import load_recipe
from stores.errors import DiskFullError, GridError
from tests.flows.test_other_steps import FIVE_YEARS, make_series
from tests.make import make_recipe

Captured = pytest.CaptureFixture[str]


def change_rain(folder: Path, **changes: object) -> str:
    return str(make_recipe(folder, archive={"variables": {"rain": changes}}))


@pytest.mark.parametrize(
    ("units", "meant"),
    [
        ("mm/mnth", "mm month-1"),
        ("degreesC", "°C"),
        ("W m-2 mon-1", "month"),
        ("mili" + "meter", "did you mean 'mm'"),
        ("kgs m-2", "did you mean 'kg m-2'"),
        ("hpa", "did you mean 'hPa'"),
    ],
)
def test_units_that_are_none_are_refused_with_the_nearest_that_are(
    tmp_path: Path, units: str, meant: str
) -> None:
    recipe = change_rain(tmp_path, units=units)
    said = rf"archive\.variables\.rain\.units: units '{units}' hold the unknown '.*{meant}"
    with pytest.raises(ValueError, match=said):
        check(recipe, [], None)
    with pytest.raises(ValueError, match=said):
        ingest.fn(recipe)
    assert not (tmp_path / "run").exists()


def test_units_that_are_not_those_of_the_standard_name_are_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = "lwe_thickness_of_precipitation_amount"
    check(change_rain(tmp_path, standard_name=name, units="mm month-1"), [], None)
    assert f"units 'mm month-1' are not those of standard_name '{name}' [m]" in caplog.text
    assert "near is lwe_precipitation_rate [m s-1]" in caplog.text
    caplog.clear()
    check(change_rain(tmp_path, standard_name=name, units="mm"), [], None)
    assert "standard_name" not in caplog.text


def move_into_folders(archive: Path, date: slice) -> None:
    """Move the files of rain into folders that are named by a part of their date."""
    for path in sorted((archive / "rain").glob("*.tif")):
        folder = archive / "rain" / path.stem.removeprefix("rain_")[date]
        folder.mkdir(exist_ok=True)
        path.rename(folder / path.name)


def test_a_pattern_that_leaves_out_files_of_its_series_names_them_and_the_nearest_pattern(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: Captured
) -> None:
    files = "rain/2000/rain_{time:%Y.%m}.tif"  # of one year alone
    recipe = str(make_recipe(tmp_path, grid={"like": "rain/2000/rain_2000.01.tif"}))
    move_into_folders(tmp_path / "archive", slice(4))
    with pytest.raises(ValueError, match="no sample"):
        check(recipe, [f"archive.variables.rain.files={files}"], None)
    assert f"rain: {files!r} reads 12 of 96 files" in caplog.text
    assert "not read are rain/2001/rain_2001.01.tif, rain/2001/rain_2001.02.tif" in caplog.text
    assert "'rain/{time:%Y}/rain_{time:%Y.%m}.tif' would read all" in caplog.text
    caplog.clear()
    check(recipe, ["archive.variables.rain.files=rain/{time:%Y}/rain_{time:%Y.%m}.tif"], None)
    assert "not read" not in caplog.text


def test_a_pattern_that_reads_one_file_of_a_series_is_refused(tmp_path: Path) -> None:
    recipe = str(make_recipe(tmp_path, grid={"like": "rain/2000.01/rain_2000.01.tif"}))
    move_into_folders(tmp_path / "archive", slice(7))
    files = "rain/2000.01/rain_{time:%Y.%m}.tif"
    with pytest.raises(ValueError, match=r"reads 1 of 96 files .*correct 'files'"):
        check(recipe, [f"archive.variables.rain.files={files}"], None)


def test_a_part_without_an_init_is_a_warning(tmp_path: Path, capsys: Captured) -> None:
    recipe = str(make_recipe(tmp_path, split={"test": ["2010-01", "2010-12"]}))
    check(recipe, [], None)
    said = " ".join(capsys.readouterr().err.split())
    assert "warning: the test part (2010-01 to 2010-12) has no init of 3 frames" in said
    assert "rain has 96 frames from 2000-01 to 2007-12" in said


def test_a_patch_larger_than_the_grid_is_told(
    store: Path, capsys: Captured, caplog: pytest.LogCaptureFixture
) -> None:
    recipe, large = str(store / "recipe.yaml"), ["training.patch_px=64", "training.epochs=1"]
    said = "training.patch_px=64 is larger than the grid of 23 x 31 px, so patches are cut to"
    check(recipe, large, None)
    assert said in " ".join(capsys.readouterr().err.split())
    train.fn(recipe, large)
    assert said in caplog.text


@pytest.mark.parametrize(
    ("change", "meant"),
    [
        ("seed=7", "did you mean 'training.seed' or "),
        ("leads=3", "did you mean 'training.leads' or 'rollout.leads'"),
        ("epoch=3", "did you mean 'training.epochs'"),
        ("domains=x", "did you mean 'domain'"),
    ],
)
def test_a_key_without_its_part_is_refused_with_the_path_of_it(
    tmp_path: Path, change: str, meant: str
) -> None:
    with pytest.raises(ValueError, match=meant):
        open_recipe(str(make_recipe(tmp_path)), [change], None)


def test_a_bundle_that_does_not_exist_is_not_called_damaged(store: Path) -> None:
    recipe = str(store / "recipe.yaml")
    (known,) = (path.name for path in (store / "run/models").glob("small-rain-*"))
    wrong = f"{known[:-1]}_"
    with pytest.raises(ValueError, match=f"no bundle '{wrong}' in .*did you mean '{known}'"):
        forecast.fn(recipe, bundle=wrong)
    with pytest.raises(ValueError, match=rf"no bundle 'mine' in .*known are {known}"):
        evaluate.fn(recipe, bundle="mine")


def test_the_plan_of_a_check_says_what_too_large_patches_lose(
    tmp_path: Path, capsys: Captured
) -> None:
    recipe = str(make_recipe(tmp_path))
    check(recipe, [], None)
    assert "4 patches of 16 x 16 px a frame, up to 224 samples an epoch" in told(capsys)
    check(recipe, ["training.patch_px=64"], None)
    assert (
        "1 patch of 23 x 31 px a frame, up to 56 samples an epoch; training.patch_px=64 is "
        "larger than the grid, which loses the 448 further samples of patch_px=11"
    ) in told(capsys)


def test_leads_beyond_those_of_the_training_stand_in_the_plan_of_a_check(
    tmp_path: Path, capsys: Captured
) -> None:
    recipe = str(make_recipe(tmp_path))
    check(recipe, [], None)
    assert "4; leads 3-4: beyond the training.leads=2 that training rolls out" in told(capsys)
    check(recipe, ["training.leads=4"], None)
    assert "that training rolls out" not in told(capsys)


def told(capsys: Captured) -> str:
    """Read what tables say, without the lines that they fold cells into."""
    return re.sub(r"[\s\u2502]+", " ", capsys.readouterr().out)


def test_a_forecast_warns_of_leads_that_nobody_has_scored(
    store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = str(store / "recipe.yaml")
    log = "leads 3-4: beyond the 2 that training rolled out, and none was scored, so nobody"
    forecast.fn(recipe, init="2006-12")
    assert log in caplog.text
    evaluate.fn(recipe)
    caplog.clear()
    forecast.fn(recipe, init="2007-01")
    assert "so nobody knows how good" not in caplog.text
    forecast.fn(recipe, init="2007-01", leads=5)
    assert "lead 5: beyond the 4 that were scored, so nobody knows how good" in caplog.text


@pytest.mark.parametrize("below", ["file", "file/run"])
def test_a_root_that_is_a_file_is_refused_before_any_work(
    tmp_path: Path, capsys: Captured, below: str
) -> None:
    recipe = str(make_recipe(tmp_path))
    (tmp_path / "file").write_text("")
    for work in (check, ingest.fn):
        with pytest.raises(ValueError, match=r"cannot be a folder, because .*file is a file"):
            work(recipe, [], str(tmp_path / below))
    assert capsys.readouterr().out == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_root_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    recipe = str(make_recipe(tmp_path))
    (tmp_path / "closed").mkdir(mode=0o555)
    with pytest.raises(ValueError, match=r"may not write into .*closed"):
        check(recipe, [], str(tmp_path / "closed/run"))


def test_a_part_whose_frames_lie_off_the_series_is_refused(tmp_path: Path) -> None:
    recipe = make_series(tmp_path, FIVE_YEARS)  # 1943, 1948, ..., 2018
    load_recipe(
        Path(recipe), overrides=["split.test=['1999', '2017']"]
    )  # four steps of 5 years
    with pytest.raises(ValueError, match=r"test part \(2003 to 2013\) has no init of 2 frames"):
        check(recipe, ["split.test=['1999', '2017']"], None)


def test_a_bundle_of_the_recipe_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    recipe = str(make_recipe(tmp_path))
    members = ["rollout={history: 3, leads: 4, members: 2, bundles: [mine]}"]
    members += ["rollout.perturb.noise=0.1"]
    with pytest.raises(ValueError, match=r"no bundle 'mine' in .*cubecast train RECIPE"):
        check(recipe, members, None)


def test_a_large_network_is_counted_without_memory_for_its_weights() -> None:
    network = build_meta_network(ConvLSTMSpec(channels=5, history=3, hidden=(4096, 4096)))
    assert count_parameters(network) > 1e9


def test_what_is_not_there_is_not_verified(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere does not exist, so nothing was verified"):
        verify([tmp_path / "nowhere"])


@pytest.mark.parametrize("flow", ["evaluate", "forecast", "importance"])
def test_overrides_of_a_training_are_said_to_have_no_effect_without_one(
    store: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, flow: str
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    module = importlib.import_module(f"flows.{flow}")
    monkeypatch.setattr(
        module, "check_matches_recipe" if flow == "forecast" else "check_split", stop
    )
    changes = ["training.epochs=3", "training.batch=4", "model={hidden: [8]}", "title=x"]
    with pytest.raises(KeyboardInterrupt):
        getattr(module, flow).fn(str(store / "recipe.yaml"), changes)
    assert "training.epochs=3 and model={hidden: [8]} has no effect here" in caplog.text
    assert "was trained otherwise; train again with it" in caplog.text
    caplog.clear()
    with pytest.raises(KeyboardInterrupt):
        getattr(module, flow).fn(str(store / "recipe.yaml"), ["training.epochs=1"])
    assert "no effect" not in caplog.text


@pytest.mark.parametrize("bound", ["minimum=10000", "maximum=0.001"])
def test_bounds_that_leave_out_all_that_was_observed_are_refused(
    tmp_path: Path, bound: str
) -> None:
    with pytest.raises(
        ValueError, match=r"leave out all of 'rain', which lies from .* mm month"
    ):
        check(str(make_recipe(tmp_path)), [f"target.{bound}"], None)


def test_a_grid_that_gdal_cannot_reach_is_refused_in_a_sentence(tmp_path: Path) -> None:
    far = "{crs: 'EPSG:3035', transform: [1e6, 0, 0, 0, -1e6, 50], shape: [100, 100]}"
    with pytest.raises(GridError, match=r"does not meet the cube's grid"):
        check(str(make_recipe(tmp_path)), [f"grid={far}"], None)


def test_a_reference_grid_that_is_no_file_is_refused_by_its_key_and_by_what_it_stands_for(
    tmp_path: Path,
) -> None:
    recipe = str(make_recipe(tmp_path))
    (tmp_path / "archive/like.tif").symlink_to("rain")  # a folder
    said = r"grid\.like='like\.tif' is no file \(it stands for .*/archive/rain\), so no grid"
    with pytest.raises(GridError, match=said):
        check(recipe, ["grid.like=like.tif"], None)


@pytest.mark.parametrize(
    ("free_bytes", "changes", "said"),
    [
        (1000, [], r"the state of the training takes .*kB or more in .*, but the disk at"),
        (
            30_000,
            ["model.hidden=[1]", "rollout.members=9", "rollout.perturb.noise=0.1"],
            r"a forecast of \d+ frames takes .* kB or more in .*, but the disk at",
        ),
    ],
)
def test_a_training_or_a_forecast_without_room_is_refused_by_the_check(
    store: Path, monkeypatch: pytest.MonkeyPatch, free_bytes: int, changes: list[str], said: str
) -> None:
    changes = ["outputs.cog=true", *changes]
    check(str(store / "recipe.yaml"), changes, None)
    shutil.rmtree(store / "run/training")
    left = shutil.disk_usage(store)._replace(free=free_bytes)
    monkeypatch.setattr("stores.disk_space.shutil.disk_usage", lambda _: left)
    with pytest.raises(DiskFullError, match=said):
        check(str(store / "recipe.yaml"), changes, None)


def test_the_plan_says_what_every_step_needs_on_the_disk(
    tmp_path: Path, capsys: Captured
) -> None:
    check(str(make_recipe(tmp_path)), [], None)
    lines = " ".join(capsys.readouterr().out.split())
    for step in ("ingest", "train, state", "train, bundle", "forecast"):
        assert re.search(rf"disk, {step} \W*at most \S+ [kM]?B; the disk at", lines), lines


def test_an_address_that_is_none_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match=r"'nonsense' is no address .* tcp://head:8786"):
        check(str(make_recipe(tmp_path)), ["compute.scheduler=nonsense"], None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_training_without_its_gpu_is_refused_before_anything_is_read(store: Path) -> None:
    with pytest.raises(ValueError, match=r"compute\.device='cuda', but torch sees no GPU"):
        train.fn(str(store / "recipe.yaml"), ["compute.device=cuda", "training.epochs=2"])
