"""Score a model on a part of the series that it never saw."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import pandas as pd

from pipeline.metrics import collapse_alarm, score_table
from pipeline.metrics.calibration import Calibration
from pipeline.metrics.importance import PermutedSums
from pipeline.metrics.intervals import ScoreCounts
from pipeline.metrics.quantiles import QuantileSums
from pipeline.recipes import Recipe, SplitRecipe
from pipeline.rollout.hindcast import MODEL, Scored, count_scored, hindcast, plan_cases
from pipeline.rollout.products import suffix_of
from pipeline.rollout.request import Request
from pipeline.spread import Spread
from pipeline.streams.samples import Span, plan_inits
from pipeline.tiling.plan import Tile
from stores.bundle import Bundle
from stores.cube import Cube
from stores.files import read_json, write_json, write_text
from stores.times import Time

Tell = Callable[..., None]
"""Called with ``done`` and ``total``."""
_LEARNED = ("train", "validation", "folds", "fold", "place")
"""Keys of the split that say what was learned from."""
Part = TypeVar("Part", Scored, ScoreCounts, PermutedSums)


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
    chances: pd.DataFrame | None = None
    """One row per lead: intervals, ensemble and quantiles, as ``chance_table`` gives them."""
    n_pixels: int | None = None
    """Pixels of the map that count; None where that was not written down."""

    def save(self, folder: Path) -> Path:
        """Write the scores as CSV, and the rest beside it."""
        path = folder / f"{self.part}.csv"
        write_text(path, self.table.to_csv(index=False))
        beside: dict[str, Any] = {"part": self.part, "alarms": self.alarms}
        beside |= {"inits": self.inits, "pixels": self.n_pixels}
        if self.chances is not None:
            write_text(path.with_suffix(".chances.csv"), self.chances.to_csv(index=False))
        write_json(path.with_suffix(".json"), beside)
        return path

    @classmethod
    def load(cls, folder: Path, part: str) -> Self | None:
        """Read scores that were saved; None when there are none."""
        path = folder / f"{part}.csv"
        if not path.with_suffix(".json").exists():
            return None
        beside = read_json(path.with_suffix(".json"))
        table = pd.read_csv(path)
        # Leads are numbers but for the row over all of them, as score_table made them.
        table["lead"] = [int(lead) if str(lead).isdigit() else lead for lead in table["lead"]]
        written = path.with_suffix(".chances.csv")
        chances = pd.read_csv(written) if written.exists() else None
        n_pixels = beside.get("pixels")
        return cls(part, table, beside["alarms"], beside["inits"], chances, n_pixels)


def plan_hindcasts(recipe: Recipe, cube: Cube, part: str) -> list[Time]:
    """List the inits of a part: history and all leads lie in it, so no frame is shared.

    Raises:
        ValueError: the cube holds none of them.
    """
    span = Span(recipe.rollout.history, recipe.rollout.leads)
    inits = plan_inits(recipe.split.stretches(part, cube.step), cube.times, span)
    if not inits:
        held = " to ".join(cube.step.label(time) for time in cube.times[[0, -1]])
        raise ValueError(
            f"the cube holds {held}, in which split.{part} "
            f"({recipe.split.label(part, cube.step)}) has no {span.history + span.leads} "
            "frames in a row, so nothing can be scored; ingest more, or choose another part"
        )
    return inits


def check_split(recipe: Recipe, bundle: Bundle) -> None:
    """Refuse to score a model on what it may have learned.

    Raises:
        ValueError: it was trained on other frames or pixels than the recipe says.
    """
    written = SplitRecipe.model_validate(bundle.description["recipe"]["split"])
    trained, now = (split.model_dump(mode="json") for split in (written, recipe.split))
    changed = [f"split.{key}={trained[key]}" for key in _LEARNED if trained[key] != now[key]]
    if changed:
        raise ValueError(
            f"{bundle.path.name} was trained with {', '.join(changed)}, and the recipe says "
            "otherwise, so it could be scored on what it learned; --set the recipe to these or "
            "train again"
        )


def evaluate_part(
    recipe: Recipe,
    request: Request,
    tiles: Sequence[Tile],
    part: str,
    *,
    spread: Spread,
    tell: Tell,
) -> Evaluation:
    """Hindcast every init of a part and score all methods on the same pixels."""
    cube = Cube.open(request.cube)
    inits = plan_hindcasts(recipe, cube, part)
    cases = plan_cases(request, inits, tiles, part)
    scored = hindcast(request, cases, spread=spread)
    total = merge(scored, partial(tell, total=len(cases)))
    units = recipe.target_variable.units
    return Evaluation(
        part=part,
        table=score_table(total.errors, units=units),
        alarms=collapse_alarm(total.errors[MODEL], units=units),
        inits=[cube.step.label(init) for init in inits],
        chances=chance_table(total, request.calibration, units=units),
        n_pixels=count_scored(request, tiles, part),
    )


def chance_table(
    scored: Scored, calibration: Calibration | None, *, units: str
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
    """Give mean pinball loss and share of truths below, one column for each quantile."""
    scores = {"pinball": quantiles.pinball, "below": quantiles.share_below}
    return {
        f"{score}{suffix_of(level)}": values
        for score, all_values in scores.items()
        for level, values in zip(quantiles.levels, all_values, strict=True)
    }


def merge(parts: Iterable[Part], tell: Callable[[int], None]) -> Part:
    """Add sums as they come."""
    total: Part | None = None
    for done, part in enumerate(parts, start=1):
        total = part if total is None else total + part
        tell(done)
    assert total is not None  # there is at least one hindcast
    return total
