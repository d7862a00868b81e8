from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.metrics.calibration import Calibration
from pipeline.recipes.base import RecipePart, digest_recipe
from pipeline.rollout.score_key import ScoreKey
from stores import grid as grids
from stores.bundle import publish_bundle, stage_bundle
from stores.cube_digests import CubeDigests
from stores.cube_inputs import CubeInputs, VariableInputs
from stores.issue import IssueKey
from stores.manifest import digest_manifest
from stores.register import REGISTER, RegisterEntry, append_entries
from tests.make_issue import GRID, make_template


class Part(RecipePart):
    """A part of a recipe whose keys, unlike those of real ones, stay."""

    words: str
    numbers: tuple[float, ...]
    more: dict[str, int | None]
    left_out: int = 1


PART = Part(words="Regen über der Insel", numbers=(0.1, 1e-07, 3), more={"z": None, "a": 1})
WORDS = {
    "ü": ["größe", "雨", 'quoted "so"'],
    "b": {"z": None, "a": True},
    "a": [0.1, 1e-07, -3],
}
KEY = IssueKey("rain", "r1", ("b1", "b2"), "c1", "2017-12", 3, calibration="m1")
FILES = CubeDigests("r", {"time": "t"}, {"rain/c/0": {"size": 5, "sha256": "ab" * 32}})
RAIN = VariableInputs(
    {"units": "mm month-1", "valid_range": [0.0, 5000.0], "nodata": None},
    {"long_name": "monthly rain of 제주"},
    {"2000-02": "d2", "2000-01": "d1", "2000-03": "gap"},
)
MARGINS = Calibration(0.8, (0.25, 1e-05), (12, 10**6), "validation", ("2017-11", "2017-12"))
LINE = (
    r'{"act": "published", "init": "2017-12", "issue": "i1", "manifest": "gr\u00f6\u00dfe", '
    r'"recipe": "rain", "revision": 0, "seal": "f22c3b26c3763224", '
    r'"when": "2026-01-01T00:00:00"}'
)
# Recorded once: stores out there hold these, so no version may give others.
RECORDED: dict[str, tuple[Callable[[], str], str]] = {
    "manifest": (
        lambda: digest_manifest(WORDS),
        "fa9854178f3998809d3b048950379a08e092b2eebad5ddbc2173a75554e5b80f",
    ),
    "part of a recipe": (
        lambda: digest_recipe(PART, exclude={"left_out": True}),
        "e526dba78649beb5422edf69fb08f46dcb8fcf3fd39675dd221b99b48d2c29b9",
    ),
    "scores": (lambda: ScoreKey(WORDS).name, "fa9854178f39"),
    "margins": (
        lambda: MARGINS.digest,
        "72fc7b977f10abdece6f1a9fb793121aa772e6d38eece480aa06c2f381365bf6",
    ),
    "files of a cube": (
        lambda: FILES.digest,
        "99c4f08d1f642c310282445f7ee37d0d18a38f7c93b177ce24d3be72ee4d454b",
    ),
    "inputs of a variable": (
        lambda: RAIN.digest,
        "23aa77e26c3bedcf25b24692f76e01a202616f59485c939e3d376a4db4e6f25a",
    ),
    "version of a cube": (
        lambda: CubeInputs("f" * 12, "month", {"rain": RAIN}).version,
        "3c6da0f7b18a",
    ),
    "grid": (lambda: grids.grid_fingerprint(GRID), "e0736aaa66b9"),
    "issue": (
        lambda: KEY.digest,
        "f9f34d2ed72a87efa5d581b6a3847a9621fc1771518fd7504fd570ccc0c2eaf7",
    ),
    "stage": (lambda: KEY.stage_name, "rain-2017-12-f9f34d2ed72a"),
    "lease": (lambda: KEY.lease_name, "issue-f9f34d2ed72a"),
    "template": (
        lambda: make_template().digest,
        "64f21e3f8d4e6c5ae06ec3ed71e4cad038fa6f8cb6f9ad14c78f4f9f5dbfb0ff",
    ),
}


@pytest.mark.parametrize("what", RECORDED)
def test_a_digest_is_what_it_ever_was(what: str) -> None:
    take, recorded = RECORDED[what]
    assert take() == recorded


def test_a_bundle_has_the_name_it_ever_had(tmp_path: Path) -> None:
    with stage_bundle(tmp_path, "rain") as folder:
        weights = {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}
        bundle = publish_bundle(folder, tmp_path, "rain", weights, WORDS)
    assert bundle.digest == "a64ffbd088c97a8e1ead8c0eac48a951bad73eb6dbae461d5914cc5bbb64780b"


def test_a_register_has_the_lines_it_ever_had(tmp_path: Path) -> None:
    entry = RegisterEntry(
        "published", "rain", "2017-12", 0, "i1", "größe", when="2026-01-01T00:00:00"
    )
    append_entries(tmp_path, [entry, replace(entry, act="removed")])
    append_entries(tmp_path, [entry])
    lines = (tmp_path / REGISTER).read_text().splitlines()
    assert lines[0] == LINE
    seals = [json.loads(line)["seal"] for line in lines]
    assert seals == ["f22c3b26c3763224", "80d045cdb2af8f9c", "4248766c19bb0eed"]
