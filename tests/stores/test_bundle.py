from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from stores.bundle import (
    check_bundle_fits,
    list_abandoned_stages,
    open_bundle,
    open_current_bundle,
    publish_bundle,
    stage_bundle,
)
from stores.errors import CorruptError, GridError
from stores.verify import verify
from tests.make_issue import GRID, make_bundle

ROOM = Path(__file__).parents[2]
BUNDLE = (
    "import sys; from pathlib import Path; from tests.make_issue import make_bundle; "
    "make_bundle(Path(sys.argv[1]), seed=2)"
)


def test_a_bundle_gives_back_what_was_put_in(tmp_path: Path) -> None:
    made = make_bundle(tmp_path, seed=7)
    found = open_current_bundle(tmp_path, "rain")
    assert found == made == open_bundle(made.path)
    assert found.path.name == f"rain-{found.digest[:12]}"
    assert found.description == {"seed": 7}
    weights = found.load_weights()
    expected = np.random.default_rng(7).normal(size=(3, 4))
    np.testing.assert_array_equal(weights["cell.weight"], expected)
    assert weights["head.bias"].shape == ()
    assert (found.path / "metrics.csv").read_text().startswith("lead")
    assert verify(found.path) == []
    assert list((tmp_path / ".staging").iterdir()) == []


def test_weights_that_lie_across_memory_keep_their_values(tmp_path: Path) -> None:
    across = np.arange(6, dtype=np.float32).reshape(2, 3).T
    with stage_bundle(tmp_path, "rain") as folder:
        bundle = publish_bundle(folder, tmp_path, "rain", {"a": across}, {})
    np.testing.assert_array_equal(bundle.load_weights()["a"], across)


def test_the_same_training_gives_the_same_bundle(tmp_path: Path) -> None:
    first = make_bundle(tmp_path)
    second = make_bundle(tmp_path)
    assert first == second
    assert len(list(tmp_path.glob("rain-*"))) == 1


def test_another_description_is_another_bundle(tmp_path: Path) -> None:
    paths = []
    for note in ("a", "b"):
        with stage_bundle(tmp_path, "rain") as folder:
            weights = {"a": np.zeros(3)}
            paths.append(publish_bundle(folder, tmp_path, "rain", weights, {"note": note}).path)
    assert paths[0] != paths[1]
    assert open_current_bundle(tmp_path, "rain").path == paths[1]


@pytest.mark.parametrize(
    "name", ["model.safetensors", "metrics.csv", "fields/climatology.bin", "bundle.json"]
)
def test_an_altered_file_is_named(name: str, tmp_path: Path) -> None:
    path = make_bundle(tmp_path).path
    content = bytearray((path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (path / name).write_bytes(content)
    with pytest.raises(CorruptError, match=rf"{name} (was altered|cannot be read)"):
        open_bundle(path)
    with pytest.raises(CorruptError, match="train again"):
        open_current_bundle(tmp_path, "rain")
    assert name in verify(path)[0]


def test_missing_and_strange_files_are_named(tmp_path: Path) -> None:
    path = make_bundle(tmp_path).path
    (path / "metrics.csv").unlink()
    (path / "notes.txt").touch()
    assert verify(path) == ["metrics.csv is missing", "notes.txt was never published"]


def test_without_a_bundle_the_way_out_is_training(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train first: cubecast train RECIPE"):
        open_current_bundle(tmp_path, "rain")


def test_a_pointer_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    make_bundle(tmp_path)
    (tmp_path / "rain.current").write_text("../elsewhere\n")
    with pytest.raises(ValueError, match="leads out of"):
        open_current_bundle(tmp_path, "rain")


def test_a_bundle_of_another_grid_is_refused_with_both_grids() -> None:
    check_bundle_fits(GRID, GRID)
    other = GeoBox((25, 33), GRID.affine, GRID.crs)
    with pytest.raises(GridError, match=r"bundle was trained on grid .* but cube is .*25 x 33"):
        check_bundle_fits(GRID, other)


@pytest.mark.parametrize("point", ["bundle.rename", "bundle.pointer"])
def test_a_kill_while_publishing_leaves_the_last_bundle_current(
    point: str, tmp_path: Path
) -> None:
    before = make_bundle(tmp_path, seed=1)
    died = subprocess.run(
        [sys.executable, "-c", BUNDLE, str(tmp_path)],
        cwd=ROOM,
        env=os.environ | {"CUBECAST_CRASH_AT": point},
        check=False,
        timeout=60,
    )
    assert died.returncode == -signal.SIGKILL
    assert open_current_bundle(tmp_path, "rain") == before
    after = make_bundle(tmp_path, seed=2)
    assert open_current_bundle(tmp_path, "rain") == after
    assert len(list(tmp_path.glob("rain-*"))) == 2
    left = list(list_abandoned_stages(tmp_path))
    assert len(left) == (point == "bundle.rename")  # later, it was moved to where it belongs


def test_a_bundle_that_is_being_made_is_not_abandoned(tmp_path: Path) -> None:
    with stage_bundle(tmp_path, "rain") as folder:
        assert list(list_abandoned_stages(tmp_path)) == []
        assert folder.exists()
    assert not folder.exists()


def test_a_description_that_is_not_json_is_refused(tmp_path: Path) -> None:
    with (
        stage_bundle(tmp_path, "rain") as folder,
        pytest.raises(ValueError, match=r"not plain JSON .* None for NaN"),
    ):
        publish_bundle(folder, tmp_path, "rain", {"a": np.zeros(3)}, {"rmse": float("nan")})
    assert list(tmp_path.glob("rain*")) == []


def test_bundles_that_were_swapped_are_named_and_not_forecast_with(tmp_path: Path) -> None:
    models = tmp_path / "models"
    one, other = (make_bundle(models, seed=seed).path for seed in (1, 2))
    one.rename(models / "aside")
    other.rename(one)
    (models / "aside").rename(other)
    for path, own in ((one, other), (other, one)):
        (finding,) = verify(path)
        assert finding.startswith(f"holds the model that was published as {own.name}")
    with pytest.raises(CorruptError, match="holds the model that was published as"):
        open_current_bundle(models, "rain")


@pytest.mark.parametrize("content", ["", "rain-000000000000", "a\nb", "\0", "x" * 5000])
def test_a_name_without_a_bundle_is_told(content: str, tmp_path: Path) -> None:
    models = tmp_path / "models"
    make_bundle(models)
    (models / "rain.current").write_text(content)
    (finding,) = verify(tmp_path)
    assert finding.startswith("models/rain.current names ")
    with pytest.raises(CorruptError, match=r"rain.current names .* or train again"):
        open_current_bundle(models, "rain")
