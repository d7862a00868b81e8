"""Score a model on a part of the series that it never saw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import pandas as pd

from pipeline.executors import Executor
from pipeline.metrics import collapse_alarm, score_table
from pipeline.metrics.calibration import Calibration
from pipeline.metrics.importance import PermutationSums
from pipeline.metrics.intervals import ConformityHistogram
from pipeline.metrics.quantiles import QuantileSums
from pipeline.rollout.hindcast import (
    MODEL,
    HindcastSums,
    count_scored,
    hindcast,
    plan_hindcast_tiles,
)
from pipeline.rollout.prepare import availability_of, span_of
from pipeline.rollout.products import suffix_of
from pipeline.rollout.request import ForecastRequest, HindcastSpec
from pipeline.rollout.score_key import ScoreKey
from pipeline.streams.availability import AvailableInits
from pipeline.tiling.tiles import Tile
from stores.bundle import Bundle, read_bundle
from stores.cube import Cube
from stores.files import read_json, write_json, write_text
from stores.formatting import pluralize
from stores.progress import ProgressCallback
from stores.times import name_ends

_PROBABILISTIC_SUFFIX = ".chances.csv"

MergeableT = TypeVar("MergeableT", HindcastSums, ConformityHistogram, PermutationSums)


@dataclass(frozen=True)
class Evaluation:
    """Scores of one part, with what a reader must know to trust them."""

    part: str
    table: pd.DataFrame
    """One row per method and lead, as ``score_table`` gives it."""
    alarms: list[str]
    """Signs of a collapsed rollout."""
    inits: list[str]
    """Labels of the hindcasts."""
    probabilistic: pd.DataFrame | None
    """One row per lead: intervals, ensemble and quantiles (``probabilistic_table``)."""
    key: ScoreKey
    """What the scores follow from."""
    cube_version: str
    """Version of the cube that was read."""
    n_pixels: int
    """Pixels of the map that count."""
    margins: str = ""
    """What the margins of the intervals were learned from; empty without intervals."""

    def save(self, scores: Path) -> Path:
        """Write the scores as CSV into the folder of their key, and the rest as JSON beside."""
        path = scores / self.key.name / f"{self.part}.csv"
        write_text(path, self.table.to_csv(index=False))
        sidecar: dict[str, Any] = {"part": self.part, "alarms": self.alarms}
        sidecar |= {"inits": self.inits, "pixels": self.n_pixels, "margins": self.margins}
        sidecar |= self.key.to_json(self.cube_version)
        if self.probabilistic is not None:
            table = self.probabilistic.to_csv(index=False)
            write_text(path.with_suffix(_PROBABILISTIC_SUFFIX), table)
        write_json(path.with_suffix(".json"), sidecar)
        return path

    @property
    def hindcasts(self) -> str:
        """Describe how many forecasts were scored, and from when."""
        return f"{pluralize(len(self.inits), 'forecast')} from {name_ends(self.inits)}"

    @classmethod
    def load(cls, scores: Path, key: ScoreKey, part: str) -> Self | None:
        """Read the scores that were made with a key; None when there are none."""
        path = scores / key.name / f"{part}.csv"
        if not path.with_suffix(".json").exists():
            return None
        sidecar = read_json(path.with_suffix(".json"))
        table = pd.read_csv(path)
        # Leads are numbers but for the row over all of them, as score_table made them.
        table["lead"] = [int(lead) if str(lead).isdigit() else lead for lead in table["lead"]]
        table_path = path.with_suffix(_PROBABILISTIC_SUFFIX)
        return cls(
            part=part,
            table=table,
            alarms=sidecar["alarms"],
            inits=sidecar["inits"],
            probabilistic=pd.read_csv(table_path) if table_path.exists() else None,
            key=key,
            cube_version=ScoreKey.from_json(sidecar)[1],
            n_pixels=sidecar["pixels"],
            margins=sidecar["margins"],
        )


def plan_hindcasts(
    spec: HindcastSpec, bundle: Bundle, cube: Cube, leads: int
) -> AvailableInits:
    """List the inits of a part: what the model reads and all leads lie in it.

    So no frame is shared with another part, not even as history, whatever the split says.

    Raises:
        TooFewError: the cube holds none of them.
    """
    span = span_of(bundle, leads)
    return availability_of(bundle, cube).plan_part(spec.split, spec.part, span)


def evaluate_part(
    spec: HindcastSpec,
    request: ForecastRequest,
    tiles: Sequence[Tile],
    *,
    executor: Executor,
    on_progress: ProgressCallback,
) -> Evaluation:
    """Hindcast every init of a part and score all methods on the same pixels."""
    cube = Cube.open(request.cube)
    inits = plan_hindcasts(spec, read_bundle(request.bundles[0]), cube, request.leads).inits
    cases = plan_hindcast_tiles(request, inits, tiles, spec.part)
    scored = hindcast(request, cases, executor=executor)
    total = merge_sums(scored, len(cases), on_progress)
    return Evaluation(
        part=spec.part,
        table=score_table(total.errors, units=spec.units),
        alarms=collapse_alarm(total.errors[MODEL], units=spec.units),
        inits=[cube.step.label(init) for init in inits],
        probabilistic=probabilistic_table(total, request.calibration, units=spec.units),
        key=ScoreKey.of(spec, request),
        cube_version=cube.version,
        n_pixels=count_scored(request, tiles, spec.part),
        margins=request.calibration.describe_source if request.calibration else "",
    )


def probabilistic_table(
    scored: HindcastSums, calibration: Calibration | None, *, units: str
) -> pd.DataFrame | None:
    """Tabulate what was scored of intervals, ensemble and quantiles; None if nothing.

    One row per lead, all on the same pixels.
    """
    columns: dict[str, Any] = {}
    if scored.coverage is not None and calibration is not None:
        coverage = scored.coverage
        columns |= {"level": calibration.level, "n": coverage.n}
        columns |= {"coverage": coverage.fraction, "width": coverage.mean_width}
    if scored.ensemble is not None:
        ensemble = scored.ensemble
        columns |= {"crps": ensemble.crps, "spread": ensemble.spread}
        columns |= {"spread_skill": ensemble.spread_skill}
    if scored.quantiles is not None:
        columns |= _quantile_columns(scored.quantiles)
    if not columns:
        return None
    table = pd.DataFrame(columns)
    table.insert(0, "lead", np.arange(1, len(table) + 1))
    table["units"] = units
    return table


def _quantile_columns(quantiles: QuantileSums) -> dict[str, Any]:
    """Return mean pinball loss and fraction of truths below, one column for each quantile."""
    scores = {"pinball": quantiles.pinball, "below": quantiles.fraction_below}
    return {
        f"{score}{suffix_of(level)}": values
        for score, all_values in scores.items()
        for level, values in zip(quantiles.levels, all_values, strict=True)
    }


def merge_sums(sums: Iterable[MergeableT], n: int, on_progress: ProgressCallback) -> MergeableT:
    """Add ``n`` sums in their order, and return the total."""
    total: MergeableT | None = None
    for done, addend in enumerate(sums, start=1):
        total = addend if total is None else total + addend
        on_progress(done, n)
    assert total is not None  # there is at least one hindcast
    return total
