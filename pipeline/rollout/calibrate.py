"""Margins of the intervals: learned on one part of the series, kept beside the scores."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pipeline.metrics.calibration import Calibration
from pipeline.recipes import Recipe
from pipeline.rollout.evaluate import Tell, merge, plan_hindcasts
from pipeline.rollout.hindcast import conform, plan_cases
from pipeline.rollout.request import Request
from pipeline.spread import Spread
from pipeline.tiling.plan import Tile
from stores.bundle import read_bundle
from stores.cube import Cube
from stores.files import read_json, write_json

log = logging.getLogger(__name__)

_FILE = "calibration.json"


def calibrate(
    recipe: Recipe,
    request: Request,
    tiles: Sequence[Tile],
    part: str,
    *,
    spread: Spread,
    tell: Tell,
) -> Calibration:
    """Find the margins that make intervals of the recipe's level hold their share of truths.

    Raises:
        ValueError: the part holds no hindcast, or too few truths for this level.
    """
    cube, level = Cube.open(request.cube), recipe.rollout.interval
    if level is None:
        raise ValueError("rollout.interval is null, so nothing is calibrated; set e.g. 0.8")
    inits = plan_hindcasts(recipe, read_bundle(request.bundles[0]), cube, part).inits
    cases = plan_cases(request, inits, tiles, part)
    counts = conform(request, cases, level, spread=spread)
    total = merge(counts, partial(tell, total=len(cases)))
    labels = [cube.step.label(init) for init in inits]
    return Calibration.of(total, level, part=part, inits=labels)


def keep_calibration(folder: Path, recipe: Recipe, calibration: Calibration) -> None:
    """Write margins beside the scores of a bundle, with the recipe that they hold for."""
    written = {"recipe": recipe.fingerprint(), "calibration": calibration.to_json()}
    write_json(folder / _FILE, written)


def find_calibration(folder: Path, recipe: Recipe, leads: int) -> Calibration | None:
    """Read the margins for forecasts of ``leads``; None where there are none that hold.

    Another recipe forecasts other numbers, so its margins are not used.
    """
    path = folder / _FILE
    if recipe.rollout.interval is None or not path.exists():
        return None
    written = read_json(path)
    calibration = Calibration.from_json(written["calibration"])
    if written["recipe"] != recipe.fingerprint() or len(calibration.margins) < leads:
        log.warning(
            "the intervals of %s were calibrated for another recipe or fewer leads, so none "
            "are published; run: cubecast evaluate RECIPE",
            folder.name,
        )
        return None
    return calibration
