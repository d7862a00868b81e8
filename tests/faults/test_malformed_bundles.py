"""Whatever lies where a bundle should: refused in a sentence, and no code of it ever runs."""

from __future__ import annotations

import json
import pickle
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from flows.error_messages import is_user_error
from flows.recipe_store import find_bundle
from pipeline.models import build_network
from pipeline.recipes import Recipe
from pipeline.rollout.prepare import build_request
from pipeline.specs import build_rollout_spec
from pipeline.specs.trained import list_differences, with_trained_dates
from pipeline.training.checkpoint import FORMAT, STATE_FILE, Checkpoint
from pipeline.training.train import _resume
from pipeline.training.trainer import Trainer
from stores.bundle import BUNDLE, Bundle
from stores.cube import Cube
from stores.weights import WEIGHTS
from tests.make_bundle import make_untrained, seal
from tests.make_faults import list_places, pick, put, take_away, within_bounds

ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    10**30,
    "",
    "x",
    "\u00e9",
    [],
    {},
    [[]],
    [None],
    {"a": 1},
    1.5,
    ["a"] * 5,
)


class Made(NamedTuple):
    recipe: Recipe
    cube: Cube
    bundle: Bundle

    @property
    def path(self) -> Path:
        """Where the bundle lies, which a seal may have renamed."""
        folders = self.bundle.path.parent.glob("*/")
        (path,) = (folder for folder in folders if not folder.name.startswith("."))
        return path

    def refuses(self, said: str = "") -> bool:
        """Return whether the bundle is refused in a sentence; fails on any other error."""
        error = self._error()
        if error is None:
            return False
        assert is_user_error(error), f"{error!r} is no sentence of ours"
        assert said in str(error)
        return True

    def _error(self) -> Exception | None:
        try:
            with within_bounds():
                self._use()
        except Exception as error:
            return error
        return None

    def _use(self) -> None:
        """Go the way of a forecast until it would write."""
        bundle = find_bundle(self.recipe, self.path.name)
        dated = with_trained_dates(self.recipe, bundle, self.cube)
        list_differences(dated, bundle)
        request = build_request(
            build_rollout_spec(dated), [bundle], self.cube, init="2006-12", leads=2
        )
        assert request.leads == 2
        build_network(bundle.description["network"], bundle.load_weights())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(*make_untrained(tmp_path_factory.mktemp("whole")))


@pytest.fixture
def made(whole: Made) -> Iterator[Made]:
    """Return a bundle that may be damaged."""
    kept = whole.bundle.path.with_name(".kept")
    shutil.copytree(whole.bundle.path, kept)
    yield whole
    shutil.rmtree(whole.path)
    kept.rename(whole.bundle.path)


def test_a_sound_bundle_is_used(made: Made) -> None:
    assert not made.refuses()


@pytest.mark.parametrize("name", [BUNDLE, WEIGHTS, "curves.csv"])
def test_a_bundle_that_was_cut_or_altered_is_refused(made: Made, name: str) -> None:
    path = made.path / name
    content = path.read_bytes()
    for length in (0, 1, len(content) // 2, len(content) - 2):
        path.write_bytes(content[:length])
        assert made.refuses("is damaged: ")
    rng = random.Random(name)
    for _ in range(3):
        altered = bytearray(content)
        altered[rng.randrange(len(altered))] ^= 1 << rng.randrange(8)
        path.write_bytes(altered)
        assert made.refuses()
    path.unlink()
    assert made.refuses("is damaged: ")
    path.mkdir()
    assert made.refuses("is damaged: ")


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"null", b"[]", b"{}", b"{", b"1", b'"a"', b"\xff\xfe", b"NaN", b"\x00" * 9),
        *(b'{"digest": 1, "files": 2}', b'[["digest", 1], ["files", []]]', b"[" * 100_000),
    ],
    ids=lambda content: ascii(content[:12]),
)
def test_a_description_that_is_none_is_refused(made: Made, content: bytes) -> None:
    (made.path / BUNDLE).write_bytes(content)
    assert made.refuses("is damaged: bundle.json ")


@pytest.mark.parametrize("key", ["name", "description"])
@pytest.mark.parametrize("value", [None, 1, []])
def test_a_sealed_bundle_without_what_a_bundle_says_is_refused(
    made: Made, key: str, value: object
) -> None:
    seal(made.path, lambda said: said.update({key: value}))
    assert made.refuses(f"no {key} of the right kind")


def descriptions_end_well(made: Made, numbers: range) -> int:
    """Seal descriptions with a mistake at any depth; return how many are refused."""
    content = json.loads((made.path / BUNDLE).read_text())
    refused = 0
    for number in numbers:
        rng = random.Random(number)
        said = json.loads(json.dumps(content))
        place = pick(rng, list_places(said["description"]))
        if rng.random() < 0.3:
            take_away(said["description"], place)
        else:
            put(said["description"], place, rng.choice(ODD))
        (made.path / BUNDLE).write_text(json.dumps(said))
        seal(made.path)
        try:
            refused += made.refuses()
        except AssertionError as error:
            pytest.fail(f"description {number}, {place}: {error}")
    return refused


def test_a_sealed_description_with_a_mistake_is_refused_or_does_no_harm(made: Made) -> None:
    assert descriptions_end_well(made, range(40)) > 10


@pytest.mark.slow
def test_a_thousand_sealed_descriptions_end_well(made: Made) -> None:
    assert descriptions_end_well(made, range(100, 1100)) > 200


def change_weights(folder: Path, how: str) -> None:
    weights = dict(load_file(folder / WEIGHTS))
    name = sorted(weights)[0]
    changed: dict[str, Any] = {
        "shape": weights | {name: weights[name][..., :1]},
        "lacking": {other: weights[other] for other in weights if other != name},
        "more": weights | {"evil": np.zeros(3, np.float32)},
        "type": weights | {name: weights[name].astype(np.int16)},
        "half": weights | {name: weights[name].astype(np.float16)},
        "none": {},
    }[how]
    save_file(
        {key: np.ascontiguousarray(value) for key, value in changed.items()}, folder / WEIGHTS
    )


@pytest.mark.parametrize("how", ["shape", "lacking", "more", "type", "half", "none"])
def test_sealed_weights_of_another_network_are_refused(made: Made, how: str) -> None:
    change_weights(made.path, how)
    seal(made.path)
    assert made.refuses("does not hold the network that the bundle describes")


class Evil:
    """Touches a marker when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def as_pickle(marker: Path) -> bytes:
    return pickle.dumps(Evil(marker))


def as_torch(marker: Path) -> bytes:
    path = marker.with_name("evil.pt")
    torch.save({"weights": Evil(marker)}, path)
    return path.read_bytes()


@pytest.mark.parametrize("write", [as_pickle, as_torch])
@pytest.mark.parametrize("name", [WEIGHTS, BUNDLE, "model.pkl"])
@pytest.mark.parametrize("sealed", [False, True])
def test_no_code_of_a_bundle_runs(
    made: Made, tmp_path: Path, write: Callable[[Path], bytes], name: str, *, sealed: bool
) -> None:
    marker = tmp_path / "ran"
    (made.path / name).write_bytes(write(marker))
    if sealed and name != BUNDLE:
        seal(made.path)
    assert made.refuses() or name == "model.pkl"  # sealed, it is a file that nobody reads
    assert not marker.exists()
    pickle.loads(as_pickle(marker))
    assert marker.exists()


@pytest.mark.parametrize(
    "pointer", [b"", b"\n", b".", b"..", b"\xff", b"\x00", b"x" * 9999, b"a/b"]
)
def test_a_pointer_to_no_bundle_is_refused(made: Made, pointer: bytes) -> None:
    path = made.path.parent / f"{made.recipe.name}.current"
    before = path.read_bytes()
    path.write_bytes(pointer)
    with pytest.raises(ValueError, match=r"bundle|leads out") as said:
        find_bundle(made.recipe, None)
    assert is_user_error(said.value)
    path.write_bytes(before)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "\0", "x" * 300, "\udcff", "../models", "-"]
)
def test_a_name_that_is_no_bundle_is_refused(whole: Made, name: str) -> None:
    with pytest.raises(
        ValueError, match=r"no bundle .* known are small-rain-|leads out"
    ) as said:
        find_bundle(whole.recipe, name)
    assert is_user_error(said.value)


@pytest.mark.parametrize(
    ("init", "leads"),
    [
        *(("10000-01", 2), ("2050-01", 2), ("1999-01", 2), ("2006-12", 0), ("2006-12", -1)),
        *(("2006-12", 96_000), ("2006-12", 10_001), ("2006-12", 2**31), ("", 2)),
    ],
)
def test_an_init_or_leads_that_cannot_be_forecast_are_refused(
    whole: Made, init: str, leads: int
) -> None:
    with within_bounds(), pytest.raises(ValueError, match=r"time=|init=|leads=") as said:
        build_request(
            build_rollout_spec(whole.recipe), [whole.bundle], whole.cube, init=init, leads=leads
        )
    assert is_user_error(said.value)


def checkpoint(folder: Path) -> Checkpoint:
    return Checkpoint(folder / "logs", {"recipe": "a", "cube": "b"})


@pytest.mark.parametrize(
    "content",
    [
        *([], None, 1, "x", {}, {"format": FORMAT}, {"format": FORMAT, "identity": []}),
        *({"format": [], "identity": {}, "state": {}}, torch.zeros(3), [torch.zeros(2)] * 3),
        {"format": FORMAT, "identity": {"recipe": "a", "cube": "b"}, "state": [1, 2]},
        {"format": FORMAT, "identity": {"recipe": "a", "cube": "b"}, "state": None},
    ],
    ids=lambda content: str(content)[:20],
)
def test_a_state_of_no_training_lets_it_start_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: Any
) -> None:
    (tmp_path / "logs").mkdir()
    torch.save(content, tmp_path / "logs" / STATE_FILE)
    assert checkpoint(tmp_path).load_or_clear() is None
    assert "training starts over" in caplog.text or "this one starts over" in caplog.text


def test_no_code_of_a_state_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "logs").mkdir()
    for content in (
        as_pickle(tmp_path / "ran"),
        as_torch(tmp_path / "ran"),
        b"",
        b"PK\x03\x04",
    ):
        (tmp_path / "logs").mkdir(exist_ok=True)
        (tmp_path / "logs" / STATE_FILE).write_bytes(content)
        assert checkpoint(tmp_path).load_or_clear() is None
        assert "training starts over" in caplog.text
    assert not (tmp_path / "ran").exists()


def test_a_state_that_lacks_what_a_learner_needs_is_refused_with_its_file(
    tmp_path: Path,
) -> None:
    kept = checkpoint(tmp_path)
    (tmp_path / "logs").mkdir()
    kept.save({"at": {}, "network": {}})
    learner = SimpleNamespace(ranks=SimpleNamespace(broadcast=lambda load: load()))
    learner.load_state_dict = lambda state: Trainer.load_state_dict(learner, state)  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=rf"{STATE_FILE} is no state .*; remove the file"
    ) as said:
        _resume(learner, kept)  # type: ignore[arg-type]
    assert is_user_error(said.value)
