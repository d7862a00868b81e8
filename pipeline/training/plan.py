"""What a training will read and do: counted before it begins."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.recipes import Recipe, TrainingRecipe
from pipeline.streams.availability import Availability, Inits
from pipeline.streams.read import Source
from pipeline.streams.samples import Sample, Span
from pipeline.streams.stack import outline_stack
from pipeline.tiling.patches import plan_patches
from stores.counting import count
from stores.times import Times
from stores.windows import Window

log = logging.getLogger(__name__)


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
    training, grid = recipe.training, source.open().grid
    if cut := describe_cut(training.patch_px, (grid.height, grid.width)):
        log.warning("%s", cut)
    patches = {part: _plan_patches(recipe, source, part) for part in ("train", "validation")}
    parts = {}
    for part in patches:
        found = plan_part(recipe, source.open().dates, part)
        for note in found.notes:
            log.info("%s part: %s", part, note)
        parts[part] = [Sample(init, patch) for init in found.inits for patch in patches[part]]
    n_samples = min(training.patches_per_epoch or len(parts["train"]), len(parts["train"]))
    steps = math.ceil(math.ceil(n_samples / training.batch) / training.accumulate)
    return TrainingPlan(
        parts["train"], parts["validation"], patches["train"], steps, training.epochs
    )


def plan_part(recipe: Recipe, dates: Mapping[str, Times], part: str) -> Inits:
    """List the inits that a part is learned or validated from, by the dates of each variable.

    Raises:
        ValueError: there is none.
    """
    span = Span(recipe.rollout.history, recipe.training.leads)
    step = recipe.step.of_series(dates[recipe.target.variable][0])
    available = Availability(outline_stack(recipe), dates, step)
    return available.plan_part(recipe.split, part, span)


def describe_cut(patch_px: int, shape: tuple[int, int]) -> str | None:
    """Say that patches do not fit into a grid of ``shape`` (y, x); None where they do."""
    height, width = (min(patch_px, length) for length in shape)
    if (height, width) == (patch_px, patch_px):
        return None
    return (
        f"training.patch_px={patch_px} is larger than the grid of {shape[0]} x {shape[1]} px, "
        f"so patches are cut to {height} x {width} px, and an epoch has few large samples; "
        f"lower it to {_half(shape)} or less for several patches a frame"
    )


def describe_patches(training: TrainingRecipe, shape: tuple[int, int], n_inits: int) -> str:
    """Say how many patches a frame of ``shape`` (y, x) has, and what too large ones cost."""
    side = training.patch_px
    n_patches, most = _count_patches(side, shape), training.patches_per_epoch
    n_samples = min(most or n_patches * n_inits, n_patches * n_inits)
    height, width = (min(side, length) for length in shape)
    said = (
        f"{count(n_patches, 'patch')} of {height} x {width} px a frame, up to "
        f"{count(n_samples, 'sample')} an epoch"
    )
    if (height, width) == (side, side):
        return said
    fitting = _half(shape)
    lost = _count_patches(fitting, shape) * n_inits - n_patches * n_inits
    return (
        f"{said}; training.patch_px={side} is larger than the grid, which loses the "
        f"{count(lost, 'further sample')} of patch_px={fitting}"
    )


def _count_patches(side: int, shape: tuple[int, int]) -> int:
    """Count the patches that stand edge to edge, all of them with enough of the domain."""
    return math.prod(-(-length // min(side, length)) for length in shape)


def _half(shape: tuple[int, int]) -> int:
    """Give the side of which several patches fit into a grid [px]."""
    return max(1, min(shape) // 2)


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
