"""Trainings that are finished, so that one of several is not done twice."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.training.environment import ComputeEnvironment
from pipeline.training.lineage import code_digest, list_versions
from stores.bundle import Bundle, open_bundle
from stores.cube import Cube
from stores.files import read_json, write_json
from stores.names import resolve_under

log = logging.getLogger(__name__)

FINISHED_FILE = "finished.json"


def cache_key(fingerprint: str, cube: Cube) -> dict[str, Any]:
    """Say what a training is made of; whatever differs may give another bundle."""
    return {
        "recipe": fingerprint,
        "cube": cube.version,
        "code": code_digest(),
        "versions": list_versions(),
    }


def describe_environments(arithmetic: Sequence[ComputeEnvironment]) -> dict[str, Any]:
    """Say how a training computed, in what it is made of and in its bundle.

    One that went on elsewhere names several, and so is never found as the same one.
    """
    return {"arithmetic": [one.to_json() for one in arithmetic]}


def record_result(folder: Path, making: Mapping[str, Any], bundle: Bundle) -> None:
    """Write down which bundle came out of the training in ``folder``."""
    write_json(folder / FINISHED_FILE, {"making": dict(making), "bundle": bundle.path.name})


def find_cached_result(folder: Path, making: Mapping[str, Any], models: Path) -> Bundle | None:
    """Open the bundle of a training that is finished; None when it has to be done.

    Raises:
        CorruptError: the bundle is damaged; it stands where a new one would.
    """
    path = folder / FINISHED_FILE
    if not path.exists():
        return None
    try:
        written = read_json(path)
        is_same, bundle = written["making"] == dict(making), str(written["bundle"])
    except (ValueError, KeyError, TypeError) as error:
        log.warning("%s cannot be read (%r), so this is trained again", path, error)
        return None
    found = resolve_under(models, bundle)
    if is_same and not found.exists():
        log.warning("bundle %s is gone, so it is trained again", found)
    return open_bundle(found) if is_same and found.exists() else None
