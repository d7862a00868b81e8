"""Builders of small issues and bundles, made as a flow makes them; nothing mocked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from stores.array_types import BoolArray, Float32Array
from stores.bundle import Bundle, publish_bundle, stage_bundle
from stores.clean import clean_stages
from stores.cog import export_cogs
from stores.forecast import (
    commit_forecast,
    create_forecast,
    write_domain,
    write_forecast,
)
from stores.forecast_template import ForecastTemplate, ForecastVariable
from stores.issue import IssueKey, open_stage
from stores.layout import Layout
from stores.lease import lease
from stores.publish import PublishResult, find_published, publish_issue
from stores.retention import RetentionPolicy
from stores.times import Step, parse_time

Field = Float32Array

SHAPE = (23, 31)
GRID = GeoBox(SHAPE, Affine(0.05, 0, 105.0, 0, -0.05, -5.0), "EPSG:4326")
LAYOUT = Layout((1, 8, 8), (1, 16, 16))
RAIN = ForecastVariable(
    "rain",
    "mm month-1",
    "monthly rainfall",
    "lwe_precipitation_rate",
    cell_methods="time: mean",
)
INIT, LEADS = "2017-12", 3


def make_key(
    *, name: str = "rain", init: str = INIT, bundle: str = "b1", leads: int = LEADS
) -> IssueKey:
    """Build the key of a small forecast."""
    return IssueKey(name, recipe="r1", bundles=(bundle,), cube="c1", init=init, leads=leads)


def make_template(
    *, init: str = INIT, grid: GeoBox = GRID, layout: Layout | None = LAYOUT
) -> ForecastTemplate:
    """Build the template of a small forecast."""
    step, start = Step.parse("month"), parse_time(init)
    return ForecastTemplate(grid, (RAIN,), step, start, LEADS, "Rain of Java", layout=layout)


def make_domain(shape: tuple[int, int] = SHAPE) -> BoolArray:
    """Build an island: True is land (y, x)."""
    ys, xs = np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij")
    land: BoolArray = ys**2 + xs**2 < 0.8
    return land


def make_values(shape: tuple[int, int] = SHAPE, *, seed: int = 0) -> Field:
    """Build frames of rain that are NaN at sea (leads, y, x)."""
    rain = np.random.default_rng(seed).gamma(2, 50, (LEADS, *shape))
    return np.where(make_domain(shape), rain, np.nan).astype(np.float32)


def make_stage(root: Path, key: IssueKey, template: ForecastTemplate | None = None) -> Path:
    """Write a whole forecast into its stage, block by block, with COGs and a report."""
    template = template or make_template(init=key.init)
    values, domain = make_values(template.shape), make_domain(template.shape)
    stage = open_stage(root, key)
    create_forecast(stage, template)
    for window in template.resolved_layout.shard_windows(template.shape):
        write_domain(stage, window, domain[window.slices])
        write_forecast(stage, "rain", window, values[:, *window.slices])
    commit_forecast(stage)
    export_cogs(stage)
    (stage / "report.html").write_text("<h1>Rain of Java</h1>\n")
    return stage


def make_issue(root: Path, key: IssueKey | None = None, *, wait_s: float = 60) -> PublishResult:
    """Do what a forecast flow does: take the lease, make the forecast once, publish, clean."""
    key = key or make_key()
    with lease(root, key.lease_name, wait_s=wait_s) as held:
        published = find_published(root, key)
        if published is None:
            published = publish_issue(root, make_stage(root, key), key, held)
    clean_stages(root, RetentionPolicy())
    return published


def make_bundle(models: Path, *, seed: int = 0, name: str = "rain") -> Bundle:
    """Publish a bundle of random weights."""
    rng = np.random.default_rng(seed)
    weights = {"cell.weight": rng.normal(size=(3, 4)), "head.bias": np.float32(seed)}
    with stage_bundle(models, name) as folder:
        (folder / "metrics.csv").write_text("lead,rmse\n1,42\n")
        (folder / "fields").mkdir()
        (folder / "fields" / "climatology.bin").write_bytes(rng.bytes(100))
        return publish_bundle(
            folder, models, name, {k: np.asarray(v) for k, v in weights.items()}, {"seed": seed}
        )
