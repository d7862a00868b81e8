"""Each seam of CONTRIBUTING takes something new by one row of its table, and uses it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline import metrics
from pipeline.losses import LOSSES, WeightedLoss, build_loss, sum_losses
from pipeline.metrics import ErrorSums, score_all, score_table, table
from pipeline.models import (
    FAMILIES,
    ConvLSTM,
    ConvLSTMSpec,
    build_meta_network,
    build_network,
    build_untrained_network,
    describe_network,
    parse_network_spec,
)
from pipeline.models.build_network import Family
from pipeline.rollout import baselines
from pipeline.rollout.baselines import Baseline, forecast_baselines
from pipeline.streams.axis import TimeAxis
from pipeline.streams.input_stack import VariableSpec
from pipeline.streams.transforms import TRANSFORMS, build_chain
from pipeline.tiling.tiles import plan_tiles
from stores.archive import SourceVariable
from stores.array_types import Float32Array
from stores.errors import ArchiveError
from stores.files import sha256_file
from stores.geotiff import FileScan, Header, PixelCounts
from stores.readers import READERS
from stores.times import Step, parse_time
from stores.windows import Window
from tests.make import GRID, SHAPE, make_fields
from tests.make_ingest import WHOLE, ingest_variables


@dataclass(frozen=True)
class DampedSpec(ConvLSTMSpec):
    damping: float = 1.0


class Damped(ConvLSTM):
    """A family of its own: forecasts a fraction of what a ConvLSTM would."""

    def __init__(self, shape: ConvLSTMSpec) -> None:
        super().__init__(shape)
        assert isinstance(shape, DampedSpec)
        self.damping = shape.damping

    def forward(self, frames: Tensor) -> Tensor:
        return self.damping * super().forward(frames)


def test_a_new_family_of_networks_is_written_into_a_bundle_and_built_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(FAMILIES, "damped", Family(DampedSpec, Damped))
    spec = DampedSpec(3, 2, hidden=(4,), damping=0.25)
    description = describe_network(spec)
    assert description["family"] == "damped"
    assert parse_network_spec(description) == spec
    assert isinstance(build_meta_network(spec), Damped)
    untrained = build_untrained_network(spec)
    weights = {name: value.numpy() + 0.1 for name, value in untrained.state_dict().items()}
    plain = build_network(describe_network(ConvLSTMSpec(3, 2, hidden=(4,))), weights)
    frames = torch.rand(1, 2, 3, 8, 8)
    with torch.no_grad():
        expected = 0.25 * plain(frames)
        torch.testing.assert_close(build_network(description, weights)(frames), expected)
    assert expected.abs().max() > 0


class CubeRoot:
    """A transform: the cube root."""

    def forward(
        self, values: Float32Array, axis: TimeAxis, out: Float32Array | None = None
    ) -> Float32Array:
        return np.cbrt(values, out=out)

    def inverse(self, values: Float32Array, axis: TimeAxis) -> Float32Array:
        return np.power(values, 3)


def test_a_new_transform_is_used_by_every_chain_that_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert isinstance(TRANSFORMS, dict)
    monkeypatch.setitem(TRANSFORMS, "cbrt", lambda *_: CubeRoot())
    steps: list[dict[str, Any]] = [
        {"kind": "cbrt"},
        {"kind": "zscore", "offset": 1.0, "scale": 2.0},
    ]
    VariableSpec("rain", tuple(steps))  # it is known where a bundle is read
    chain = build_chain(steps, lambda _: pytest.fail("it reads no field"))
    values = np.array([[[8.0, 27.0]]], dtype=np.float32)
    normalized = chain.forward(values, TimeAxis.undated())
    np.testing.assert_allclose(normalized, [[[0.5, 1.0]]], rtol=1e-6)
    np.testing.assert_allclose(chain.inverse(normalized, TimeAxis.undated()), values, rtol=1e-6)


def test_a_new_loss_is_built_by_its_kind_and_summed_with_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def build(*, delta: float, **_: Any) -> Any:
        return lambda forecast, truth, valid, weights=None: delta * (forecast - truth).sum()

    monkeypatch.setitem(LOSSES, "plain_sum", build)
    forecast, truth = torch.full((1, 1, 2, 2), 3.0), torch.ones(1, 1, 2, 2)
    valid = torch.ones(1, 1, 2, 2, dtype=torch.bool)
    assert build_loss("plain_sum", delta=0.5)(forecast, truth, valid) == 4
    total = sum_losses(
        [
            WeightedLoss(2.0, build_loss("plain_sum", delta=0.5)),
            WeightedLoss(1.0, build_loss("mse")),
        ]
    )
    assert total(forecast, truth, valid) == 2 * 4 + 4


def test_the_names_of_baselines_in_scores_are_those_that_are_forecast() -> None:
    assert tuple(baselines.BASELINES) == metrics.BASELINES


def test_a_new_baseline_is_forecast_and_gives_a_column_of_skill(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def dry(source: Any, owns: Window, init: Any, times: Any) -> Float32Array:
        return np.zeros((len(times), *owns.shape), dtype=np.float32)

    monkeypatch.setitem(baselines.BASELINES, "dry", Baseline(dry))
    (tile,) = plan_tiles((4, 5), core=8, halo=0)
    times = Step.parse("month").range(parse_time("2001-01"), parse_time("2001-03"))
    source: Any = None  # it reads nothing
    forecasts = forecast_baselines(source, tile, times[0], times, ["dry"])
    truth = np.full((3, 4, 5), 2.0, dtype=np.float32)
    sums = score_all({"model": truth - 1} | forecasts, truth, np.ones((4, 5), dtype=bool))
    scored = score_table(sums, units="mm", baselines=(*metrics.BASELINES, "dry"))
    assert set(scored.loc[scored["method"] == "model", "skill_dry"]) == {0.75}


def test_a_new_score_is_a_column_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    halved = property(lambda sums: sums.rmse / 2)
    monkeypatch.setattr(ErrorSums, "half_rmse", halved, raising=False)
    monkeypatch.setattr(table, "SCORES", (*table.SCORES, "half_rmse"))
    truth = np.zeros((2, 3, 3))
    scored = score_table({"model": ErrorSums.of(truth + 3, truth)}, units="mm")
    assert set(scored["half_rmse"]) == {1.5}


@dataclass(frozen=True)
class NpyBand:
    header: Header
    values: Float32Array

    def read(self, window: Window) -> Float32Array:
        return self.values[window.slices]


class NpyReader:
    """Arrays of numpy as an archive: float32 on one grid, NaN where invalid."""

    @contextmanager
    def open_band(self, path: Path, variable: SourceVariable) -> Iterator[NpyBand]:
        header = Header(GRID, "float32", (), "", scale=1.0, offset=0.0, has_mask=False)
        yield NpyBand(header, np.load(path))

    def read_header(self, path: Path, variable: SourceVariable) -> Header:
        with self.open_band(path, variable) as band:
            return band.header

    def scan(self, path: Path, variable: SourceVariable) -> FileScan:
        with self.open_band(path, variable) as band:
            valid = int(np.isfinite(band.values).sum())
            counts = PixelCounts(
                valid,
                nodata=band.values.size - valid,
                minimum=float(np.nanmin(band.values)),
                maximum=float(np.nanmax(band.values)),
            )
            return FileScan(band.header, counts)

    def digest_raster(self, path: Path) -> str:
        return sha256_file(path)


def test_a_new_reader_is_chosen_by_the_suffix_and_fills_a_cube(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    frames = make_fields(3)
    assert frames.shape == (3, *SHAPE)
    for month, frame in enumerate(frames, start=1):
        np.save(archive / f"rain_2001.{month:02}.npy", frame.astype(np.float32))
    rain = SourceVariable("rain", "rain_{time:%Y.%m}.npy", "mm month-1")
    with pytest.raises(ArchiveError, match=r"3 files are no GeoTIFFs .*\.npy"):
        ingest_variables(archive, tmp_path / "cube.zarr", rain)
    monkeypatch.setitem(READERS, ".npy", NpyReader())
    cube = ingest_variables(archive, tmp_path / "cube.zarr", rain)
    np.testing.assert_array_equal(cube.read("rain", WHOLE), frames.astype(np.float32))
