"""Margins of the intervals: learned on one part of the series, kept beside the scores."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from pipeline.executors import Executor
from pipeline.metrics.calibration import Calibration
from pipeline.rollout.evaluate import merge_sums, plan_hindcasts
from pipeline.rollout.hindcast import conformity_scores, plan_hindcast_tiles
from pipeline.rollout.request import ForecastRequest, HindcastSpec
from pipeline.rollout.score_key import LEADS, ScoreKey, list_score_files, nearest_difference
from pipeline.tiling.tiles import Tile
from stores.bundle import read_bundle
from stores.cube import Cube
from stores.files import read_json, write_json
from stores.progress import ProgressCallback

log = logging.getLogger(__name__)

_FILE = "calibration.json"


def calibrate(
    spec: HindcastSpec,
    request: ForecastRequest,
    tiles: Sequence[Tile],
    *,
    executor: Executor,
    on_progress: ProgressCallback,
) -> Calibration:
    """Find the margins that make intervals of the requested level hold that many truths.

    Raises:
        TooFewError: the part holds no hindcast, or too few truths for this level.
        ValueError: no margin holds the level.
    """
    cube = Cube.open(request.cube)
    level = spec.interval
    if level is None:
        raise ValueError("rollout.interval is null, so nothing is calibrated; set e.g. 0.8")
    inits = plan_hindcasts(spec, read_bundle(request.bundles[0]), cube, request.leads).inits
    cases = plan_hindcast_tiles(request, inits, tiles, spec.part)
    counts = conformity_scores(request, cases, level, executor=executor)
    total = merge_sums(counts, len(cases), on_progress)
    labels = [cube.step.label(init) for init in inits]
    return Calibration.of(total, level, part=spec.part, inits=labels)


def save_calibration(
    scores: Path, key: ScoreKey, calibration: Calibration, cube_version: str
) -> None:
    """Write margins into the folder of their key, with what they were made with."""
    written = key.to_json(cube_version) | {"calibration": calibration.to_json()}
    write_json(scores / key.name / _FILE, written)


def find_calibration(scores: Path, key: ScoreKey) -> Calibration | None:
    """Read the margins that were learned with a key, or with more leads; None without any.

    A lead does not depend on how many follow it, so the first margins of more leads hold.
    """
    leads = key.settings[LEADS]
    longer = {
        other.settings[LEADS]: path
        for other, path in list_score_files(scores, _FILE)
        if other.with_leads(leads) == key and other.settings[LEADS] >= leads
    }
    if longer:
        return Calibration.from_json(read_json(longer[min(longer)])["calibration"])
    if different := nearest_difference(scores, _FILE, key):
        log.warning(
            "the margins of %s were learned with %s, so no intervals are published; run: "
            "cubecast evaluate RECIPE, with the settings of this forecast",
            scores.name,
            ", ".join(different),
        )
    return None
