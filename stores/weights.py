"""The weights of a bundle: one file of plain arrays, which cannot hold code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from stores.array_types import AnyArray
from stores.errors import CorruptError
from stores.formatting import abbreviate

WEIGHTS = "model.safetensors"
_DTYPES = {"F32": "float32", "F64": "float64", "I64": "int64"}  # as safetensors and NumPy say

WeightArrays = Mapping[str, AnyArray]
ArraySpec = tuple[tuple[int, ...], str]
"""Shape and type of an array."""


def write_weights(folder: Path, weights: WeightArrays) -> None:
    """Write arrays by name into the folder of a bundle."""
    # safetensors writes the memory as it lies, which scrambles transposed weights
    save_file({k: np.asarray(v, order="C") for k, v in weights.items()}, folder / WEIGHTS)


def read_weights(folder: Path) -> dict[str, AnyArray]:
    """Read the weights by name, each array in its own shape (...).

    Raises:
        CorruptError: they cannot be read.
    """
    try:
        return dict(load_file(folder / WEIGHTS))
    except (OSError, SafetensorError) as error:
        raise CorruptError(
            describe_damage(folder, f"{WEIGHTS} cannot be read ({error})")
        ) from None


def check_weights(folder: Path, expected: Mapping[str, ArraySpec]) -> None:
    """Refuse weights of another network; only their header is read.

    Raises:
        CorruptError: names the arrays that differ.
    """
    try:
        with safe_open(folder / WEIGHTS, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            found = {
                name: (tuple(array.get_shape()), _DTYPES.get(array.get_dtype(), "no number"))
                for name, array in slices.items()
            }
    except (OSError, SafetensorError) as error:
        raise CorruptError(
            describe_damage(folder, f"{WEIGHTS} cannot be read ({error})")
        ) from None
    differing = sorted(n for n in {*expected, *found} if expected.get(n) != found.get(n))
    if differing:
        what = f"{WEIGHTS} does not hold the network that the bundle describes"
        raise CorruptError(describe_damage(folder, f"{what} ({abbreviate(differing)})"))


def describe_damage(bundle: Path, what: str) -> str:
    """Describe what is wrong with a bundle, so what, and the way out."""
    return (
        f"bundle {bundle} is damaged: {what}, so its forecasts could not be trusted; "
        "move the folder away and train again, or restore it from a copy"
    )
