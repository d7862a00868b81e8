"""The state of a training on disk, so that a killed one goes on as if nothing had happened."""

from __future__ import annotations

import logging
import pickle
import random
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stores.crash import crash_point
from stores.files import atomic_write

log = logging.getLogger(__name__)

FORMAT = 2
"""Version of the content of a state and of how batches are drawn; another is not resumed."""
STATE_FILE = "state.ckpt"
_UNREADABLE_ERRORS = (
    *(OSError, RuntimeError, EOFError, LookupError),
    *(ValueError, TypeError, AttributeError, ArithmeticError),
    *(pickle.UnpicklingError, zipfile.BadZipFile),
)

CheckpointState = dict[str, Any]
"""Tensors and plain values: it is read without running code."""


@dataclass(frozen=True)
class Checkpoint:
    """Where one training keeps its state, and which training that is.

    The state is one file, so it is there whole or not at all: weights, best weights, optimizer
    and position can never be of different steps.
    """

    folder: Path
    identity: Mapping[str, str]
    """What makes two trainings the same one: recipe and cube."""

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / STATE_FILE

    def load_or_clear(self) -> CheckpointState | None:
        """Load the state of this training; None clears the folder for a new one.

        Curves and states of an earlier training would mix with these, so they go.
        """
        state = self._load()
        if state is None:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            for temporary in self.folder.glob(f".{STATE_FILE}.*.tmp"):  # of a killed save
                temporary.unlink()
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the state in one rename."""
        content = {"format": FORMAT, "identity": dict(self.identity), "state": dict(state)}
        with atomic_write(self.path) as temporary, temporary.open("wb") as file:
            torch.save(content, file)  # by its path, torch would not say that a disk is full
            crash_point("training.checkpoint")

    def _load(self) -> CheckpointState | None:
        if not self.path.exists():
            return None
        try:
            _check_sums(self.path)
            content = torch.load(self.path, weights_only=True, map_location="cpu")
            version = content["format"]
            identity = dict(content["identity"])
            state: CheckpointState = dict(content["state"])
        except _UNREADABLE_ERRORS as error:
            log.warning(
                "%s cannot be read (%s), so training starts over", self.path, _first_line(error)
            )
            return None
        if (version, identity) != (FORMAT, dict(self.identity)):
            log.warning(
                "%s is the state of another training (%s), so this one starts over",
                self.path,
                self._difference(version, identity),
            )
            return None
        return state

    def _difference(self, version: int, identity: Mapping[str, str]) -> str:
        changed = [key for key, value in self.identity.items() if identity.get(key) != value]
        if version != FORMAT:
            changed.append("format")
        return "other " + " and ".join(changed)


def delete_state(folder: Path) -> None:
    """Remove the state of a training that is finished and published; its curves stay."""
    (folder / STATE_FILE).unlink(missing_ok=True)


def get_rng_states() -> CheckpointState:
    """Return the state of every source of random numbers."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - the global one is meant
    states: CheckpointState = {
        "python": random.getstate(),
        "numpy": (kind, torch.tensor(np.asarray(keys, dtype=np.int64)), *rest),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def set_rng_states(states: CheckpointState) -> None:
    """Set every source of random numbers to a state of ``get_rng_states``."""
    random.setstate(_deep_tuple(states["python"]))
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002 - as above
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])


def _deep_tuple(value: Any) -> Any:
    return tuple(map(_deep_tuple, value)) if isinstance(value, list | tuple) else value


def _check_sums(path: Path) -> None:
    """Compare the checksums that torch writes but does not read; a flipped bit is no weight."""
    with zipfile.ZipFile(path) as records:
        broken = records.testzip()
    if broken is not None:
        raise zipfile.BadZipFile(f"the checksum of {broken} does not fit")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
