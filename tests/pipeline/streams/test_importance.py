import numpy as np
import pytest

from pipeline.recipes import load_recipe
from pipeline.specs import build_fit_spec, build_training_spec
from pipeline.spread import InPlace, OnThreads
from pipeline.streams import importance
from pipeline.streams.importance import measure_chances
from pipeline.streams.read import Source
from pipeline.streams.samples import Sample, Span
from pipeline.streams.statistics import fit_stack
from pipeline.training.plan import plan_training
from tests.make import make_cube


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Source, list[Sample]]:
    folder = tmp_path_factory.mktemp("made")
    cube = make_cube(folder, training={"patch_px": 9})
    recipe = load_recipe(folder / "recipe.yaml")
    stack = fit_stack(build_fit_spec(recipe), cube, folder / "fields.zarr", InPlace())
    source = Source(cube, folder / "fields.zarr", stack)
    return source, list(plan_training(build_training_spec(recipe), source).train)


def test_a_sample_counts_by_the_change_of_the_frames_it_forecasts(
    made: tuple[Source, list[Sample]],
) -> None:
    source, samples = made
    span, step = Span(3, 2), source.open().step
    chances = measure_chances(source, span, samples, "changes", InPlace())
    changes = []
    for sample in samples:
        times = step.range(sample.init, step.add(sample.init, 2))
        moved = np.abs(np.diff(source.target(sample.window, times), axis=0))
        changes.append(np.mean([np.nanmean(frame) for frame in moved]))
    expected = np.array(changes) + 0.1 * np.mean(changes)
    assert expected.max() > 2 * expected.min()
    np.testing.assert_allclose(chances, expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["changes", "quantiles"])
def test_chances_do_not_depend_on_how_the_scan_is_cut(
    made: tuple[Source, list[Sample]], kind: importance.Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, samples = made
    whole = measure_chances(source, Span(3, 2), samples, kind, InPlace())
    monkeypatch.setattr(importance, "_BAND_PX", 5)
    monkeypatch.setattr(importance, "_SCAN_BYTES", 4 * 23 * 31 * 7)
    cut = measure_chances(source, Span(3, 2), samples, kind, OnThreads(2))
    assert len(set(whole)) > 1
    np.testing.assert_array_equal(whole, cut)


def test_rare_means_get_the_chances_of_usual_ones(made: tuple[Source, list[Sample]]) -> None:
    source, samples = made
    chances = measure_chances(source, Span(3, 2), samples, "quantiles", InPlace())
    means = np.array(
        [
            np.nanmean(
                source.target(s.window, Span(3, 2).lead_times(source.open().step, s.init))
            )
            for s in samples
        ]
    )
    assert means[chances == chances.max()].min() > np.median(means)
