"""What a bundle was made of: inputs, code and libraries; never when or where."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stores.cube import Cube
from stores.cube_inputs import load_inputs
from stores.files import sha256_file

_LIBRARIES = ("torch", "lightning", "numpy", "zarr", "rasterio", "odc-geo")
_PACKAGES = ("pipeline", "stores")


def list_inputs(cube: Cube) -> dict[str, dict[str, Any]]:
    """List the inputs of every variable of a cube: one digest of all its files, and dates.

    Raises:
        CorruptError: the cube's record of its inputs is gone or altered.
    """
    variables = load_inputs(cube.path, cube.version).variables
    return {
        name: {
            "digest": inputs.digest,
            "frames": len(inputs.frames),
            "first": min(inputs.frames),
            "last": max(inputs.frames),
        }
        for name, inputs in variables.items()
        if inputs.frames
    }


def list_versions() -> dict[str, str]:
    """Return the versions of everything that can change the last bit of a number."""
    installed = {name: version(name) for name in ("cubecast", *_LIBRARIES)}
    return installed | {"python": platform.python_version()}


@cache
def code_digest() -> str:
    """Compute the digest of the source code that makes models, also between two releases."""
    root = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            digest.update(f"{name} {sha256_file(path)}\n".encode())
    return digest.hexdigest()
