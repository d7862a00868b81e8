"""Score a model on a part of the series that it never saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pandas as pd

from pipeline.metrics import collapse_alarm, score_table
from pipeline.recipes import Recipe
from pipeline.rollout.request import Request
from pipeline.rollout.hindcast import MODEL, hindcast, merge
from pipeline.spread import Spread
from pipeline.streams.samples import Span, plan_inits
from pipeline.tiling.plan import Tile
from stores.cube import Cube
from stores.files import read_json, write_json, write_text
from stores.times import Time

Tell = Callable[[int, int], None]


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

    def save(self, folder: Path) -> Path:
        """Write the scores as CSV, and the rest beside it."""
        path = folder / f"{self.part}.csv"
        write_text(path, self.table.to_csv(index=False))
        beside = {"part": self.part, "alarms": self.alarms, "inits": self.inits}
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
        return cls(part, table, beside["alarms"], beside["inits"])


def plan_hindcasts(recipe: Recipe, cube: Cube, part: str) -> list[Time]:
    """List the inits of a part: history and all leads lie in it, so no frame is shared.

    Raises:
        ValueError: the cube holds none of them.
    """
    span = Span(recipe.rollout.history, recipe.rollout.leads)
    inits = plan_inits(recipe.split.frames(part, recipe.step), cube.times, span)
    if not inits:
        held = " to ".join(cube.step.label(time) for time in cube.times[[0, -1]])
        raise ValueError(
            f"the cube holds {held}, in which split.{part}={list(getattr(recipe.split, part))} "
            f"has no {span.history + span.leads} frames in a row, so nothing can be scored; "
            "ingest more, or choose another part"
        )
    return inits


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
    parts = []
    for _, sums in hindcast(request, inits, tiles, spread=spread):
        parts.append(sums)
        tell(len(parts), len(inits) * len(tiles))
    total = merge(parts)
    units = recipe.target_variable.units
    return Evaluation(
        part=part,
        table=score_table(total, units=units),
        alarms=collapse_alarm(total[MODEL], units=units),
        inits=[cube.step.label(init) for init in inits],
    )
