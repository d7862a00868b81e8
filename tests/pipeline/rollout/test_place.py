from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pipeline.executors import SerialExecutor
from pipeline.rollout import hindcast
from pipeline.rollout.baselines import CLIMATOLOGY
from pipeline.rollout.calibrate import calibrate
from pipeline.rollout.evaluate import Evaluation, evaluate_part, plan_hindcasts
from pipeline.rollout.facts import ModelFacts
from pipeline.rollout.forecaster import forecaster_of
from pipeline.rollout.hindcast import MODEL
from pipeline.rollout.issue_report import _split_sections
from pipeline.rollout.map_data import read_map_data
from pipeline.rollout.permutation_importance import ImportanceSpec, measure_importance
from pipeline.specs import build_hindcast_spec
from pipeline.specs.trained import check_split
from pipeline.training.bundle import read_curves
from stores.array_types import Float32Array
from stores.progress import no_progress
from stores.times import Step
from stores.windows import Window
from tests.make_rollout import INIT, LEADS, Made, ask, forecast, make_model, plan

WHOLE = Window(0, 23, 0, 31)
SAME, YEAR = ["2000-01", "2005-12"], ["2005-01", "2005-12"]
BLOCKS = {"block_px": 7, "correlation_px": 2, "shares": [0.5, 0.25, 0.25]}
BASINS = {"groups": "basins", "correlation_px": 1, "shares": [0.5, 0.25, 0.25]}
VARIABLES = {"basins": {"files": "basins.tif", "units": "1", "kind": "classes"}}


@pytest.fixture(scope="module", params=[BLOCKS, BASINS], ids=["blocks", "groups"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_model(
        tmp_path_factory.mktemp("made"),
        archive={"variables": VARIABLES},
        split={"train": SAME, "validation": YEAR, "place": request.param},
        training={"patch_px": 4, "epochs": 1, "patches_per_epoch": 40},
        rollout={"interval": 0.8},
    )


def score(made: Made, part: str, core: int = 32) -> Evaluation:
    tiles = plan(made, core).tiles
    request = ask(made, init=INIT)
    return evaluate_part(
        build_hindcast_spec(made.recipe, part),
        request,
        tiles,
        executor=SerialExecutor(),
        on_progress=no_progress,
    )


def direct(made: Made, part: str) -> dict[str, float]:
    """Score model and climatology over all leads without tiles and without sums."""
    squares: dict[str, list[Float32Array]] = {MODEL: [], CLIMATOLOGY: []}
    tile = plan(made, 32).tiles[0]
    spec = build_hindcast_spec(made.recipe, part)
    for init in plan_hindcasts(spec, made.bundle, made.cube, LEADS).inits:
        request = ask(made, init=made.cube.step.label(init))
        forecaster = forecaster_of(request)
        source = forecaster.source
        times = made.cube.step.range(
            made.cube.step.add(init, 1), made.cube.step.add(init, LEADS)
        )
        inside = source.domain(WHOLE) & source.part_area(part, WHOLE)
        truth = source.truth(WHOLE, times)[:, inside]
        found = forecaster.forecast_physical(tile, request)[0][:, inside]
        squares[MODEL].append((found - truth) ** 2)
        squares[CLIMATOLOGY].append((source.climatology(WHOLE, times)[:, inside] - truth) ** 2)
    return {name: float(np.sqrt(np.mean(values))) for name, values in squares.items()}


@pytest.mark.parametrize("part", ["validation", "test"])
def test_only_pixels_of_the_part_are_scored_for_all_methods(made: Made, part: str) -> None:
    found = score(made, part)
    table = found.table[found.table["lead"] == "all"].set_index("method")
    source = forecaster_of(ask(made)).source
    n_pixels = int((source.domain(WHOLE) & source.part_area(part, WHOLE)).sum())
    assert 20 < n_pixels < source.domain(WHOLE).sum() / 2
    assert found.n_pixels == n_pixels
    assert set(table["n"]) == {n_pixels * len(found.inits) * LEADS}
    for method, rmse in direct(made, part).items():
        assert table["rmse"][method] == pytest.approx(rmse, rel=1e-5)


def test_tiles_without_a_pixel_of_the_part_are_not_computed(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiles = plan(made, 5).tiles
    request = ask(made, init=INIT)
    source = forecaster_of(request).source
    scored_tiles = {tile for tile in tiles if source.scored_area("test", tile.owns).any()}
    assert 0 < len(scored_tiles) < len(tiles) / 2
    computed: Counter[object] = Counter()
    members = hindcast._members

    def watched(
        forecaster: object, request: object, case: hindcast.HindcastTile
    ) -> Float32Array:
        computed[case.tile] += 1
        return members(forecaster, request, case)  # type: ignore[arg-type]

    monkeypatch.setattr(hindcast, "_members", watched)
    found = score(made, "test", core=5)
    assert set(computed) == scored_tiles
    assert set(computed.values()) == {len(found.inits)}
    whole = score(made, "test")
    np.testing.assert_allclose(found.table["rmse"], whole.table["rmse"], rtol=1e-4)


def test_margins_and_importances_are_those_of_pixels_that_validate(made: Made) -> None:
    request = ask(made, init=INIT)
    tiles = plan(made, 32).tiles
    n_pixels = int(forecaster_of(request).source.scored_area("validation", WHOLE).sum())
    spec = build_hindcast_spec(made.recipe, "validation")
    inits = plan_hindcasts(spec, made.bundle, made.cube, LEADS).inits
    margins = calibrate(
        spec, request, tiles, executor=SerialExecutor(), on_progress=no_progress
    )
    assert set(margins.n) == {n_pixels * len(inits)}
    found = measure_importance(
        spec,
        request,
        tiles,
        ImportanceSpec("validation", 2),
        executor=SerialExecutor(),
        on_progress=no_progress,
    )
    pooled = found.table[found.table["lead"] == "all"]
    assert set(pooled["n"]) == {n_pixels * len(inits) * LEADS}


@pytest.mark.parametrize(
    "change",
    [
        {"folds": 4},
        {"place": None, "train": ["2000-01", "2004-12"]},
        {"train": ["2000-02", SAME[1]]},
    ],
)
def test_a_model_is_not_scored_with_a_split_that_it_did_not_learn_by(
    made: Made, change: dict[str, object]
) -> None:
    check_split(made.recipe, made.bundle, Step.parse("month"))
    later = made.recipe.split.replace(test=("2006-03", "2007-12"))
    check_split(
        made.recipe.replace(split=later), made.bundle, Step.parse("month")
    )  # the test may grow
    other = made.recipe.split.replace(**{"validation": ("2005-02", "2005-12")} | change)
    with pytest.raises(ValueError, match="could be scored on what it learned; --set"):
        check_split(made.recipe.replace(split=other), made.bundle, Step.parse("month"))


def test_a_bundle_and_a_report_show_the_parts(made: Made, tmp_path: Path) -> None:
    assert (made.bundle.path / "parts.png").stat().st_size > 1000
    assert len(read_curves(made.bundle)) == 1
    rolled = forecast(made, tmp_path, 32)
    map_data = read_map_data(rolled, forecaster_of(ask(made)).source)
    (section,) = _split_sections(rolled, map_data, ModelFacts.of(made.bundle.description))
    assert "spatial split" in section.text
    assert section.plot is not None
    label = str(section.plot().get_label())
    assert all(f"{part}: " in label for part in ("train", "validation", "test", "free"))
