"""Malformed rasters are accepted with sensible values, or refused in a sentence, at once."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from flows.resolve import open_recipe
from flows.steps.cube import check_archive, check_sources, take_inventory
from pipeline.memory import peak_rss_bytes, reset_peak_rss, rss_bytes
from stores.cube import Cube
from stores.errors import ArchiveError, GridError
from stores.windows import Window
from tests.make import RAIN_FILES, SHAPE, date_names, ingest, make_fields, make_recipe
from tests.make_flow import tree
from tests.make_rasters import DAMAGES, Damage, plain

N_RASTERS = 108
N_MONTHS = 4
MOST_S = 2.0
MOST_BYTES = 500e6
NAMES = list(date_names(RAIN_FILES, start="2000-01", n=N_MONTHS))
ONLY_RAIN = dict.fromkeys(("elevation", "land_fraction"))


def make_damaged(folder: Path, damage: Damage, seed: int) -> tuple[str, str]:
    """Write an archive of which one file is damaged; give its recipe and that file's name."""
    random = np.random.default_rng(seed)
    index = int(random.integers(N_MONTHS))
    (folder / "archive/rain").mkdir(parents=True)
    for n, (name, frame) in enumerate(zip(NAMES, make_fields(N_MONTHS), strict=True)):
        path = folder / "archive" / name
        damage(path, frame, random) if n == index else plain(path, frame)
    archive = {"variables": ONLY_RAIN}
    recipe = make_recipe(folder, archive=archive, covariates=[], domain=None)
    return str(recipe), Path(NAMES[index]).name


def look(recipe: str) -> None:
    """Do what ``check_leaks`` and ``ingest`` do before anything is written."""
    opened = open_recipe(recipe, [], None)
    check_sources(opened)
    check_archive(opened, take_inventory(opened))


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: str(damage.__name__))
@pytest.mark.parametrize(
    "seeds", [range(4), pytest.param(range(4, 40), marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_a_malformed_raster_is_accepted_and_sensible_or_refused_by_its_name(
    tmp_path: Path, damage: Damage, seeds: range
) -> None:
    for seed in seeds:
        folder = tmp_path / str(seed)
        recipe, name = make_damaged(folder, damage, seed)
        before = tree(folder)
        reset_peak_rss()
        rss_before = rss_bytes()
        began_s = time.process_time()
        try:
            look(recipe)
        except (ArchiveError, GridError, ValueError) as refusal:
            message = str(refusal)
        else:
            message = ""
        assert time.process_time() - began_s < MOST_S
        assert peak_rss_bytes() - rss_before < MOST_BYTES
        assert tree(folder) == before
        if message:
            assert name in message or "2000-0" in message, (seed, message)
            assert "; " in message, (seed, message)  # a way out
        else:
            check_sensible(folder, recipe)


def check_sensible(folder: Path, recipe: str) -> None:
    """Ingest what was accepted: every value lies in the valid range or is NaN."""
    ingest(open_recipe(recipe, [], None), folder / "run/cube.zarr")
    rain = Cube.open(folder / "run/cube.zarr").read("rain", Window.from_shape(SHAPE))
    assert rain.shape == (N_MONTHS, *SHAPE)
    assert np.nanmin(rain) >= 0
    assert np.nanmax(rain) <= 5000
    whole = [np.isfinite(frame).all() for frame in rain]
    assert sum(whole) >= N_MONTHS - 1


def test_a_hundred_rasters_are_looked_at() -> None:
    assert len(DAMAGES) * 4 == N_RASTERS >= 100
