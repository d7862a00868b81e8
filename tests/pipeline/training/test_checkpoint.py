import random
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.training import checkpoint as states
from pipeline.training.checkpoint import (
    Checkpoint,
    delete_state,
    get_rng_states,
    set_rng_states,
)

IDENTITY = {"recipe": "a1", "cube": "b2"}


def make_checkpoint(folder: Path, **changes: str) -> Checkpoint:
    return Checkpoint(folder, IDENTITY | changes)


def draw() -> list[float]:
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]  # noqa: NPY002


def test_random_numbers_go_on_where_their_state_was_taken(tmp_path: Path) -> None:
    np.random.normal()  # noqa: NPY002 - keeps a second number for the next call
    checkpoint = make_checkpoint(tmp_path)
    checkpoint.save({"random": get_rng_states()})
    first = [*draw(), float(np.random.normal())]  # noqa: NPY002
    assert draw() != first[:3]
    kept = checkpoint.load_or_clear()
    assert kept is not None
    set_rng_states(kept["random"])
    assert [*draw(), float(np.random.normal())] == first  # noqa: NPY002


def test_another_training_clears_the_folder_and_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_checkpoint(tmp_path / "logs").save({"at": 1})
    (tmp_path / "logs" / "curves.csv").write_text("of the other one")
    assert make_checkpoint(tmp_path / "logs", cube="c3").load_or_clear() is None
    assert "another training (other cube), so this one starts over" in caplog.text
    assert not (tmp_path / "logs").exists()


def test_a_state_of_another_format_is_not_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_checkpoint(tmp_path).save({"at": 1})
    monkeypatch.setattr(states, "FORMAT", states.FORMAT + 1)
    assert make_checkpoint(tmp_path).load_or_clear() is None
    assert "other format" in caplog.text


@pytest.mark.parametrize("damage", ["cut", "flip", "text"])
def test_a_damaged_state_is_not_resumed(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = make_checkpoint(tmp_path)
    checkpoint.save({"weights": torch.arange(1000.0)})
    written = bytearray(checkpoint.path.read_bytes())
    if damage == "cut":
        written = written[: len(written) // 2]
    elif damage == "flip":
        written[written.index(torch.arange(1000.0).numpy().tobytes()) + 2000] ^= 1
    else:
        written = bytearray(b"no state at all")
    checkpoint.path.write_bytes(written)
    assert checkpoint.load_or_clear() is None
    assert "cannot be read" in caplog.text


def test_what_a_killed_save_left_behind_is_swept(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path)
    checkpoint.save({"at": 1})
    (tmp_path / ".state.ckpt.x1.tmp").write_bytes(b"half")
    assert checkpoint.load_or_clear() == {"at": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["state.ckpt"]


def test_a_training_that_is_published_is_forgotten_but_its_curves_stay(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path)
    checkpoint.save({"at": 1})
    (tmp_path / "curves.csv").write_text("epoch")
    delete_state(tmp_path)
    delete_state(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["curves.csv"]
