from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.executors import SerialExecutor
from pipeline.rollout.blend import blend_weights, describe_blend, disagreement, taper
from pipeline.rollout.engine import roll_out
from pipeline.rollout.evaluate import evaluate_part
from pipeline.rollout.forecaster import forecaster_of
from pipeline.rollout.publishing import ledger_of
from pipeline.rollout.request import ForecastRequest
from pipeline.specs import build_hindcast_spec
from pipeline.tiling.tiles import plan_tiles
from stores.forecast import commit_forecast, open_forecast
from stores.issue import FORECAST
from stores.progress import no_progress
from tests.make_rollout import INIT, Made, ask, forecast, frames, make_model, plan, stage

BLEND = {"mode": "blend", "tile_px": 8, "taper_px": 4}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A model that normalizes over the whole tile: none of its tiles can be exact."""
    return make_model(tmp_path_factory.mktemp("made"), model={"norm": "group"}, rollout=BLEND)


@given(
    height=st.integers(1, 23),
    width=st.integers(1, 23),
    core=st.integers(2, 13),
    halo=st.integers(0, 7),
    kind=st.sampled_from(["hann", "linear"]),
)
def test_weights_are_positive_and_sum_to_one_at_every_pixel(
    height: int, width: int, core: int, halo: int, kind: str
) -> None:
    tiles = plan_tiles((height, width), core=core, halo=halo)
    for tile in tiles:
        neighbors = [other for other in tiles if other.reads.intersects(tile.owns)]
        weights = blend_weights(neighbors, tile.owns, kind)
        np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-12)
        for weight, other in zip(weights, neighbors, strict=True):
            reached = np.zeros(tile.owns.shape, dtype=bool)
            reached[other.reads.clip(tile.owns).relative_to(tile.owns).slices] = True
            assert ((weight > 0) == reached).all()


@pytest.mark.parametrize("kind", ["hann", "linear"])
def test_a_taper_falls_from_the_middle_to_both_ends(kind: str) -> None:
    weights = taper(9, kind)
    assert weights.argmax() == 4
    np.testing.assert_allclose(weights, weights[::-1])
    assert (np.diff(weights[:5]) > 0).all()


def test_disagreement_is_the_weighted_spread_where_several_tiles_reach() -> None:
    weights = np.array([[[0.25, 1.0]], [[0.75, 0.0]]])  # two tiles over 1 x 2 px
    predictions = np.array([[[[1.0, 9.0]]], [[[5.0, 0.0]]]], dtype=np.float32)  # one lead
    receipt = disagreement(predictions, weights)
    assert receipt["pixels"] == 1
    np.testing.assert_allclose(receipt["squares"], [0.25 * 9 + 0.75 * 1])
    np.testing.assert_allclose(receipt["largest"], [np.sqrt(3)])


def test_a_network_that_is_not_exact_is_refused_unless_tiles_are_blended(made: Made) -> None:
    with pytest.raises(ValueError, match=r"model\.norm='group'.*rollout\.mode=blend"):
        made.asking(mode="exact")
    with pytest.raises(ValueError, match=r"layer 'head\..*GroupNorm.*mean over the tile"):
        forecaster_of(replace_mode(made))


def replace_mode(made: Made) -> ForecastRequest:
    return replace(ask(made, init=INIT), mode="exact")


def test_a_blended_forecast_is_whole_and_says_how_far_its_tiles_disagree(
    made: Made, tmp_path: Path
) -> None:
    rollout_plan = plan(made, 8)
    request = ask(made, init=INIT)
    staged = stage(made, tmp_path, rollout_plan)
    progress = list(roll_out(request, rollout_plan, staged, executor=SerialExecutor()))
    assert progress[-1].done == 24
    attributes = describe_blend(request, rollout_plan, staged)
    commit_forecast(staged, attributes)
    rolled = open_forecast(staged / FORECAST)
    assert (np.isfinite(frames(rolled)) == rolled.read_domain()).all()
    assert rolled.group.attrs["rollout"].startswith("approximate: 12 tiles of 8 px")  # type: ignore[union-attr]
    rms = attributes["tile_disagreement_rms"]
    largest = attributes["tile_disagreement_largest"]
    assert len(rms) == len(largest) == 4
    assert min(rms) > 0
    assert max(rms) < max(largest)


def test_one_tile_that_covers_all_is_the_untiled_forecast(made: Made, tmp_path: Path) -> None:
    whole = frames(forecast(made, tmp_path, 32))
    request = ask(made, init=INIT)
    tile = plan(made, 32).tiles[0]
    untiled = forecaster_of(request).forecast_physical(tile, request)[0]
    np.testing.assert_allclose(whole, untiled, rtol=1e-6)


def test_blended_tiles_differ_from_the_untiled_forecast_but_not_by_batch(
    made: Made, tmp_path: Path
) -> None:
    whole = frames(forecast(made, tmp_path / "whole", 32))
    one = frames(forecast(made, tmp_path / "one", 8))
    three = frames(forecast(made, tmp_path / "three", 8, batch=3))
    assert np.nanmax(np.abs(one - whole)) > 1e-3
    np.testing.assert_allclose(one, three, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("steps", [7])
def test_an_interrupted_blend_goes_on_where_it_was(
    made: Made, tmp_path: Path, steps: int
) -> None:
    rollout_plan = plan(made, 8)
    request = ask(made, init=INIT)
    staged = stage(made, tmp_path / "cut", rollout_plan)
    interrupted = roll_out(request, rollout_plan, staged, executor=SerialExecutor())
    for _ in range(steps):
        next(interrupted)
    assert 0 < len(ledger_of(staged).done_keys()) < rollout_plan.n_tasks
    rest = list(roll_out(request, rollout_plan, staged, executor=SerialExecutor()))
    assert rest[-1].done == rollout_plan.n_tasks
    commit_forecast(staged)
    resumed = frames(open_forecast(staged / FORECAST))
    np.testing.assert_array_equal(resumed, frames(forecast(made, tmp_path / "calm", 8)))


def test_hindcasts_score_what_would_be_published(made: Made, tmp_path: Path) -> None:
    published = frames(forecast(made, tmp_path, 8))
    inits = made.cube.times[made.cube.times == ask(made, init=INIT).init]
    split = made.recipe.split.replace(test=("2006-04", "2006-10"))
    recipe = made.recipe.replace(split=split)
    scored = evaluate_part(
        build_hindcast_spec(recipe, "test"),
        ask(made, init=INIT),
        plan(made, 8).tiles,
        executor=SerialExecutor(),
        on_progress=no_progress,
    )
    assert scored.inits == [made.cube.step.label(inits[0])]
    source = forecaster_of(ask(made, init=INIT)).source
    times = made.cube.step.range(inits[0], made.cube.step.add(inits[0], 4))[1:]
    truth = source.truth(plan(made, 32).tiles[0].owns, times)
    mse = np.nanmean((published - truth) ** 2, axis=(1, 2))
    model = scored.table[scored.table["method"] == "model"]["rmse"].to_numpy()[:4]
    np.testing.assert_allclose(model, np.sqrt(mse), rtol=1e-4)


def test_a_blended_rollout_without_stated_tiles_is_refused(made: Made) -> None:
    with pytest.raises(ValueError, match=r"set rollout\.tile_px"):
        made.asking(tile_px=None)


def test_tiles_are_part_of_what_a_blended_forecast_is(made: Made) -> None:
    other = made.asking(tile_px=9)
    assert other.recipe.fingerprint() != made.recipe.fingerprint()
