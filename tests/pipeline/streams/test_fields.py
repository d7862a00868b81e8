from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from pipeline.executors import SerialExecutor
from pipeline.recipes import load_recipe
from pipeline.specs import build_fit_spec
from pipeline.streams.fields import create_fields, field_blocks, finish_fields, read_seasons
from pipeline.streams.source import Source
from pipeline.streams.statistics import fit_stack
from stores.seasons import Seasons
from stores.times import Step, parse_time
from stores.windows import Window
from tests.make import GRID, make_cube

WHOLE = Window(0, 23, 0, 31)


def test_seasons_are_read_back_from_the_fields(tmp_path: Path) -> None:
    seasons = Seasons(Step.parse("12 hours"), 12, 2, (0, 1, 4, 23))
    create_fields(
        tmp_path / "f.zarr", GRID, seasons=seasons, climatologies={"climatology": "K"}
    )
    finish_fields(tmp_path / "f.zarr")
    assert read_seasons(tmp_path / "f.zarr") == seasons


@pytest.mark.parametrize(("n_seasons", "side"), [(1, 512), (12, 512), (365, 128), (3456, 32)])
def test_the_sums_of_a_block_fit_into_a_worker_however_many_seasons(
    n_seasons: int, side: int
) -> None:
    block = field_blocks((3500, 7000), n_seasons)[0]
    assert block.shape == (side, side)
    assert block.size * n_seasons * 16 <= 128 << 20


def test_less_than_two_years_have_one_climatology_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cube = make_cube(
        tmp_path,
        split={"train": ["2000-01", "2001-11"], "validation": ["2002-02", "2002-12"]},
        target={"transform": ["anomaly", "zscore"]},
    )
    recipe = load_recipe(tmp_path / "recipe.yaml")
    with caplog.at_level(logging.INFO):
        stack = fit_stack(
            build_fit_spec(recipe), cube, tmp_path / "fields.zarr", SerialExecutor()
        )
    assert "climatology of 23 training frames: one season; 0 of 34 frames" in caplog.text
    source = Source(cube, tmp_path / "fields.zarr", stack)
    times = source.open().step.range(parse_time("2000-01"), parse_time("2001-11"))
    mean = source.truth(WHOLE, times).mean(axis=0)
    inside = source.domain(WHOLE)
    for found in source.climatology(WHOLE, times[:3]):
        np.testing.assert_allclose(found[inside], mean[inside], rtol=1e-5)
    assert np.nanstd(source.target(WHOLE, times)) > 0.5  # anomalies are left to learn
