"""The first system in small: a generated archive of its names, through every flow."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import rasterio
import xarray as xr

from flows.forecast import forecast
from flows.ingest import ingest
from flows.pictures import draw
from flows.train import train
from samples.xco2_china import TREND, write_archive
from stores.array_types import Float32Array
from stores.cube import Cube
from stores.windows import Window

CHANGES = [
    "training.epochs=1",
    "training.patches_per_epoch=48",
    "training.patch_px=24",
    "model.hidden=[8]",
    "compute.workers=0",
]
MONTHS = [f"2022-{month:02d}" for month in range(1, 13)]

WHOLE = Window(0, 44, 0, 77)

Frames = Float32Array


class Chain(NamedTuple):
    """What the chain left, and the year after the archive that it never saw."""

    issue: Path
    cube: Cube
    truth: Frames


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    folder = tmp_path_factory.mktemp("xco2")
    write_archive(folder / "archive", truth=folder / "after", scale=16)
    overrides = [*CHANGES, f"archive.root={folder / 'archive'}"]
    root = folder / "run"
    ingest.fn("xco2-china", overrides, str(root))
    train.fn("xco2-china", overrides, str(root))
    issue = forecast.fn("xco2-china", overrides, str(root))
    truth = [read_tiff(path) for path in sorted((folder / "after").iterdir())]
    return Chain(Path(issue), Cube.open(root / "cube.zarr"), np.stack(truth))


def read_tiff(path: Path) -> Frames:
    with rasterio.open(path) as raster:
        values: Frames = raster.read(1, masked=True).filled(np.nan)
    return values


def published(chain: Chain) -> xr.DataArray:
    found: xr.DataArray = xr.open_zarr(chain.issue / "forecast.zarr")["xco2"]
    return found


def test_twelve_months_beyond_the_archive_are_forecast(chain: Chain) -> None:
    found = published(chain)
    assert [str(time)[:7] for time in found.time.values] == MONTHS
    assert str(chain.cube.step_times("xco2")[-1])[:7] == "2021-12"
    assert (np.isfinite(found.values) == np.isfinite(chain.truth)).all()


def test_level_and_trend_are_kept_within_one_ppm(chain: Chain) -> None:
    found = published(chain).mean(("y", "x")).values
    truth = np.nanmean(chain.truth, axis=(1, 2))
    assert np.abs(found - truth).max() < 1.0
    assert truth[0] > np.nanmean(chain.cube.read("xco2", WHOLE)[0]) + 6 * TREND


def test_the_forecast_does_not_collapse(chain: Chain) -> None:
    found = published(chain)
    in_space = found.std(("y", "x")).values / np.nanstd(chain.truth, axis=(1, 2))
    assert (in_space > 0.7).all()  # the original's was 0.05 ppm, of more than 1
    season = np.ptp(found.mean(("y", "x")).values)
    assert season > 0.7 * np.ptp(np.nanmean(chain.truth, axis=(1, 2))) > 2


def test_what_is_published_says_that_it_is_generated(chain: Chain) -> None:
    store = xr.open_zarr(chain.issue / "forecast.zarr")
    assert "generated" in store.attrs["title"]
    assert "continued beyond" in store.attrs["trend"]
    assert "generated" in store["xco2"].attrs["long_name"]
    page = (chain.issue / "report.html").read_text()
    assert "generated" in page
    assert "continued beyond" in page
    assert "generated" in (chain.issue / "item.json").read_text()


def test_the_months_and_the_leads_are_drawn(chain: Chain, tmp_path: Path) -> None:
    draw([chain.issue], tmp_path, dpi=30)
    names = {path.name for path in (tmp_path / chain.issue.name).iterdir()}
    assert {f"xco2_{month}.png" for month in MONTHS} < names
    assert {"xco2_2021-12.gif", "xco2_2021-12_panels.png"} < names
