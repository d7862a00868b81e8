from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine
from odc.geo.geobox import GeoBox

from pipeline.executors import SerialExecutor
from pipeline.recipes import Recipe, load_recipe
from pipeline.specs import build_fit_spec, build_training_spec
from pipeline.streams.loader import read_batch_directly
from pipeline.streams.samples import RolloutSpan, Sample
from pipeline.streams.source import Source
from pipeline.streams.statistics import fit_stack
from pipeline.training.early_stopping import BatchInverseTransform, LeadRMSE
from pipeline.training.pixel_weights import build_pixel_weights, check_classes, row_areas
from pipeline.training.spec import ClassSpec
from pipeline.training.task import DeviceBatch, StepOutput
from pipeline.training.training_plan import plan_training
from tests.make import make_cube

SPAN = RolloutSpan(history=3, leads=2)
THRESHOLDS, FACTORS = (60.0, 90.0), (1.0, 2.0, 5.0)


def prepare(folder: Path, *transform: str, **loss: object) -> tuple[Recipe, Source]:
    cube = make_cube(
        folder,
        target={"transform": list(transform)},
        training={"loss": {"kind": "mae", **loss}},
    )
    recipe = load_recipe(folder / "recipe.yaml")
    stack = fit_stack(build_fit_spec(recipe), cube, folder / "fields.zarr", SerialExecutor())
    return recipe, Source(cube, folder / "fields.zarr", stack)


def some_samples(recipe: Recipe, source: Source) -> list[Sample]:
    """Take samples of other places and other seasons."""
    samples = plan_training(build_training_spec(recipe), source).train
    chosen = [samples[0], samples[7], samples[-6], samples[-1]]
    assert len({sample.window for sample in chosen}) > 1
    assert len({str(sample.init)[5:7] for sample in chosen}) > 1
    return chosen


def make_batch(source: Source, samples: list[Sample]) -> DeviceBatch:
    batch = read_batch_directly(source, SPAN, samples)
    return DeviceBatch.of(
        (torch.from_numpy(np.ascontiguousarray(part)) for part in batch), samples
    )


def physical_truth(source: Source, samples: list[Sample]) -> np.ndarray:
    step = source.open().step
    frames = [source.truth(s.window, SPAN.lead_times(step, s.init)) for s in samples]
    return np.stack(frames)


@pytest.mark.parametrize(
    "transform",
    [("zscore",), ("log1p", "zscore"), ("sqrt", "anomaly", "zscore"), ("anomaly", "minmax")],
    ids="-".join,
)
def test_pixels_are_weighed_by_the_class_of_their_physical_value(
    tmp_path: Path, transform: tuple[str, ...]
) -> None:
    classes = {"thresholds": list(THRESHOLDS), "factors": list(FACTORS)}
    recipe, source = prepare(tmp_path, *transform, classes=classes)
    samples = some_samples(recipe, source)
    pixel_weights = build_pixel_weights(build_training_spec(recipe).losses, source, SPAN)
    assert pixel_weights is not None
    (weights,) = pixel_weights(make_batch(source, samples))
    truth = physical_truth(source, samples)
    expected = np.array(FACTORS)[np.digitize(np.nan_to_num(truth), THRESHOLDS)]
    valid = np.isfinite(truth)
    assert weights is not None
    assert set(np.unique(expected[valid])) == set(FACTORS)
    np.testing.assert_array_equal(weights.numpy()[valid], expected[valid])


def test_a_grid_of_degrees_is_weighed_by_the_cosine_of_its_latitudes(tmp_path: Path) -> None:
    recipe, source = prepare(tmp_path, "zscore", area=True)
    samples = some_samples(recipe, source)
    pixel_weights = build_pixel_weights(build_training_spec(recipe).losses, source, SPAN)
    assert pixel_weights is not None
    (weights,) = pixel_weights(make_batch(source, samples))
    assert weights is not None
    grid = source.open().grid
    latitudes = np.asarray(grid.coords["latitude"].values)
    for sample, row_weights in zip(samples, weights[:, 0, :, 0].numpy(), strict=True):
        cosines = np.cos(np.deg2rad(latitudes[sample.window.y0 : sample.window.y1]))
        np.testing.assert_allclose(
            row_weights / row_weights[0], cosines / cosines[0], rtol=1e-6
        )
        assert np.ptp(row_weights) > 0.01


def test_areas_average_to_one_over_the_domain() -> None:
    grid = GeoBox((6, 4), Affine(10, 0, 0, 0, -10, 60), "EPSG:4326")
    domain = np.zeros((6, 4), dtype=bool)
    domain[0], domain[5, :2] = True, True
    rows = row_areas(grid, domain)
    assert (rows[0] * 4 + rows[5] * 2) / 6 == pytest.approx(1.0)
    assert rows[0] / rows[5] == pytest.approx(np.cos(np.deg2rad(55)) / np.cos(np.deg2rad(5)))


def test_areas_of_a_grid_of_meters_are_refused() -> None:
    grid = GeoBox((6, 4), Affine(1000, 0, 0, 0, -1000, 0), "EPSG:5179")
    with pytest.raises(ValueError, match=r"the grid is EPSG:5179.* leave area out"):
        row_areas(grid, np.ones((6, 4), dtype=bool))


def test_thresholds_below_zero_are_refused_where_all_of_them_are_zero() -> None:
    classes = ClassSpec(thresholds=(-1.0, 5.0), factors=(1.0, 2.0, 3.0))
    check_classes(classes, ["anomaly", "zscore"])
    with pytest.raises(ValueError, match=r"\[-1.0\] lie below zero .* 'sqrt'"):
        check_classes(classes, ["sqrt", "zscore"])


def test_nothing_weighs_when_all_pixels_count_alike(tmp_path: Path) -> None:
    recipe, source = prepare(tmp_path, "zscore")
    assert build_pixel_weights(build_training_spec(recipe).losses, source, SPAN) is None


@pytest.mark.parametrize("units", ["physical", "normalized"])
def test_the_error_of_a_lead_is_that_of_its_valid_pixels_by_hand(
    tmp_path: Path, units: str
) -> None:
    recipe, source = prepare(tmp_path, "sqrt", "anomaly", "zscore")
    samples = some_samples(recipe, source)
    batch = make_batch(source, samples)
    forecast = batch.target[:, -2:] + 0.1 * torch.randn(
        len(samples), 2, *samples[0].window.shape, generator=torch.Generator().manual_seed(0)
    )
    valid = batch.valid[:, -2:] & batch.domain[:, None]
    step = source.open().step
    if units == "physical":
        truth = physical_truth(source, samples)
        given = np.stack(
            [
                source.inverse_transform(
                    frames.numpy(), s.window, SPAN.lead_times(step, s.init)
                )
                for frames, s in zip(forecast, samples, strict=True)
            ]
        )
    else:
        truth, given = batch.target[:, -2:].numpy(), forecast.numpy()
    errors = (given - truth)[:, 1][valid[:, 1].numpy()]
    score = LeadRMSE(2, BatchInverseTransform(source, SPAN) if units == "physical" else None)
    for half in (slice(0, 1), slice(1, 4)):  # gathered batch by batch
        tensors = (getattr(batch, name)[half] for name in DeviceBatch.__slots__[:5])
        output = StepOutput(
            forecast[half], batch.target[half, -2:], valid[half], torch.zeros(())
        )
        score.update(DeviceBatch.of(tensors, samples[half]), output)
    assert score.value == pytest.approx(
        np.sqrt(np.mean(np.square(errors, dtype=float))), rel=1e-4
    )
    score.reset()
    assert np.isnan(score.value)
