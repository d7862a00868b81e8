"""What a training will read and do: counted before it begins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.recipes import Recipe
from pipeline.streams.read import Source
from pipeline.streams.samples import Sample, Span, plan_inits
from pipeline.tiling.patches import plan_patches
from stores.windows import Window


@dataclass(frozen=True)
class TrainingPlan:
    """What one run will read and do: counted before it begins."""

    train: Sequence[Sample]
    validation: Sequence[Sample]
    patches: Sequence[Window]
    """Those that are learned from."""
    steps_per_epoch: int
    epochs: int


def plan_training(recipe: Recipe, source: Source) -> TrainingPlan:
    """List every sample of both parts: each init with each patch that holds enough domain.

    Where parts are split by place, patches of a part lie in its area.

    Raises:
        ValueError: a part is empty.
    """
    cube, training = source.open(), recipe.training
    span = Span(recipe.rollout.history, training.leads)
    patches = {part: _plan_patches(recipe, source, part) for part in ("train", "validation")}
    parts = {}
    for part in patches:
        inits = plan_inits(recipe.split.stretches(part, cube.step), cube.times, span)
        if not inits:
            raise ValueError(
                f"split.{part} has no {span.history + span.leads} frames in a row in the cube "
                f"(which holds {cube.step.label(cube.times[0])} to "
                f"{cube.step.label(cube.times[-1])}), so there is no sample; "
                "ingest more or change the split"
            )
        parts[part] = [Sample(init, patch) for init in inits for patch in patches[part]]
    n_samples = min(training.patches_per_epoch or len(parts["train"]), len(parts["train"]))
    steps = math.ceil(math.ceil(n_samples / training.batch) / training.accumulate)
    return TrainingPlan(
        parts["train"], parts["validation"], patches["train"], steps, training.epochs
    )


def _plan_patches(recipe: Recipe, source: Source, part: str) -> list[Window]:
    """Cover what a part may learn from or validate on."""
    cube, training = source.open(), recipe.training
    whole, by_place = Window.whole((cube.grid.height, cube.grid.width)), recipe.split.place
    try:
        return plan_patches(
            source.domain(whole),
            side=training.patch_px,
            min_valid=training.min_valid,
            area=source.area(part, whole) if by_place else None,
        )
    except ValueError as error:
        if by_place:
            raise ValueError(f"{part} part of split.place: {error}") from error
        raise
