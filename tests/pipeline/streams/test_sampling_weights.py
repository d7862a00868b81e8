import numpy as np
import pytest

from pipeline.executors import SerialExecutor, ThreadExecutor
from pipeline.recipes import load_recipe
from pipeline.specs import build_fit_spec, build_training_spec
from pipeline.streams import sampling_weights as weights_module
from pipeline.streams.samples import RolloutSpan, Sample
from pipeline.streams.sampling_weights import sampling_weights
from pipeline.streams.source import Source
from pipeline.streams.statistics import fit_stack
from pipeline.training.training_plan import plan_training
from tests.make import make_cube


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Source, list[Sample]]:
    folder = tmp_path_factory.mktemp("made")
    cube = make_cube(folder, training={"patch_px": 9})
    recipe = load_recipe(folder / "recipe.yaml")
    stack = fit_stack(build_fit_spec(recipe), cube, folder / "fields.zarr", SerialExecutor())
    source = Source(cube, folder / "fields.zarr", stack)
    return source, list(plan_training(build_training_spec(recipe), source).train)


def test_a_sample_counts_by_the_change_of_the_frames_it_forecasts(
    made: tuple[Source, list[Sample]],
) -> None:
    source, samples = made
    span, step = RolloutSpan(3, 2), source.open().step
    chances = sampling_weights(source, span, samples, "changes", SerialExecutor())
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
    made: tuple[Source, list[Sample]],
    kind: weights_module.DrawKind,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, samples = made
    whole = sampling_weights(source, RolloutSpan(3, 2), samples, kind, SerialExecutor())
    monkeypatch.setattr(weights_module, "_BAND_PX", 5)
    monkeypatch.setattr(weights_module, "_SCAN_BYTES", 4 * 23 * 31 * 7)
    cut = sampling_weights(source, RolloutSpan(3, 2), samples, kind, ThreadExecutor(2))
    assert len(set(whole)) > 1
    np.testing.assert_array_equal(whole, cut)


def test_rare_means_get_the_chances_of_usual_ones(made: tuple[Source, list[Sample]]) -> None:
    source, samples = made
    chances = sampling_weights(
        source, RolloutSpan(3, 2), samples, "quantiles", SerialExecutor()
    )
    means = np.array(
        [
            np.nanmean(
                source.target(
                    s.window, RolloutSpan(3, 2).lead_times(source.open().step, s.init)
                )
            )
            for s in samples
        ]
    )
    assert means[chances == chances.max()].min() > np.median(means)
