"""Results of trainings that are finished, so that none is done twice."""

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
    """Return what a training is made of; whatever differs may give another bundle."""
    return {
        "recipe": fingerprint,
        "cube": cube.version,
        "code": code_digest(),
        "versions": list_versions(),
    }


def describe_environments(environments: Sequence[ComputeEnvironment]) -> dict[str, Any]:
    """Return the environments of a training, for its cache key and its bundle.

    One that went on elsewhere has several, and so is never found as the same one.
    """
    return {"arithmetic": [environment.to_json() for environment in environments]}


def record_result(folder: Path, key: Mapping[str, Any], bundle: Bundle) -> None:
    """Write which bundle came out of the training in ``folder``."""
    write_json(folder / FINISHED_FILE, {"making": dict(key), "bundle": bundle.path.name})


def find_cached_result(folder: Path, key: Mapping[str, Any], models: Path) -> Bundle | None:
    """Open the bundle of a training that is finished; None when it has to be done.

    Raises:
        CorruptError: the bundle is damaged; it stands where a new one would.
    """
    path = folder / FINISHED_FILE
    if not path.exists():
        return None
    try:
        result = read_json(path)
        is_same = result["making"] == dict(key)
        name = str(result["bundle"])
    except (ValueError, KeyError, TypeError) as error:
        log.warning("%s cannot be read (%r), so this is trained again", path, error)
        return None
    bundle = resolve_under(models, name)
    if is_same and not bundle.exists():
        log.warning("bundle %s is gone, so it is trained again", bundle)
    return open_bundle(bundle) if is_same and bundle.exists() else None
