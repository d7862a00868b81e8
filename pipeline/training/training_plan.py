"""The plan of a training: samples and steps, counted before it begins."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.streams.availability import Availability, AvailableInits
from pipeline.streams.samples import Sample
from pipeline.streams.source import Source
from pipeline.streams.spec import PatchSpec
from pipeline.tiling.patches import plan_patches
from pipeline.training.spec import TrainingSpec
from stores.formatting import pluralize
from stores.times import Times
from stores.windows import Window

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingPlan:
    """Samples and steps of one training, counted before it begins."""

    train: Sequence[Sample]
    validation: Sequence[Sample]
    patches: Sequence[Window]
    """Those of the training part."""
    steps_per_epoch: int
    epochs: int


def plan_training(spec: TrainingSpec, source: Source) -> TrainingPlan:
    """List every sample of both parts: each init with each patch that holds enough domain.

    Where the split is spatial, patches of a part lie in its area.

    Raises:
        ValueError: a part is empty.
    """
    grid = source.open().grid
    if warning := describe_clipped_patch(spec.patches.side_px, (grid.height, grid.width)):
        log.warning("%s", warning)
    patches = {part: _plan_patches(spec, source, part) for part in ("train", "validation")}
    samples = {}
    for part in patches:
        available = plan_part_inits(spec, source.open().dates, part)
        for note in available.notes:
            log.info("%s part: %s", part, note)
        samples[part] = [
            Sample(init, patch) for init in available.inits for patch in patches[part]
        ]
    n_samples = len(samples["train"])
    n_batches = math.ceil(min(spec.patches.per_epoch or n_samples, n_samples) / spec.batch)
    return TrainingPlan(
        train=samples["train"],
        validation=samples["validation"],
        patches=patches["train"],
        steps_per_epoch=math.ceil(n_batches / spec.hyperparameters.accumulate),
        epochs=spec.hyperparameters.curriculum.epochs,
    )


def plan_part_inits(
    spec: TrainingSpec, dates: Mapping[str, Times], part: str
) -> AvailableInits:
    """List the inits of a part, by the dates (time,) of each variable.

    Raises:
        ValueError: there is none.
    """
    step = spec.step.of_series(dates[spec.fit.target][0])
    availability = Availability(spec.fit.stack, dates, step)
    return availability.plan_part(spec.fit.split, part, spec.span)


def describe_clipped_patch(patch_px: int, shape: tuple[int, int]) -> str | None:
    """Describe patches that do not fit into a grid of ``shape`` (y, x); None where they do."""
    height, width = (min(patch_px, length) for length in shape)
    if (height, width) == (patch_px, patch_px):
        return None
    return (
        f"training.patch_px={patch_px} is larger than the grid of {shape[0]} x {shape[1]} px, "
        f"so patches are cut to {height} x {width} px, and an epoch has few large samples; "
        f"lower it to {_half(shape)} or less for several patches a frame"
    )


def describe_patches(patches: PatchSpec, shape: tuple[int, int], n_inits: int) -> str:
    """Describe how many patches a frame of ``shape`` (y, x) has, and what large ones cost."""
    side = patches.side_px
    n_patches = _count_patches(side, shape)
    n_all = n_patches * n_inits
    n_samples = min(patches.per_epoch or n_all, n_all)
    height, width = (min(side, length) for length in shape)
    description = (
        f"{pluralize(n_patches, 'patch')} of {height} x {width} px a frame, up to "
        f"{pluralize(n_samples, 'sample')} an epoch"
    )
    if (height, width) == (side, side):
        return description
    fitting = _half(shape)
    n_lost = _count_patches(fitting, shape) * n_inits - n_all
    return (
        f"{description}; training.patch_px={side} is larger than the grid, which loses the "
        f"{pluralize(n_lost, 'further sample')} of patch_px={fitting}"
    )


def _count_patches(side: int, shape: tuple[int, int]) -> int:
    """Count the patches that lie edge to edge, all of them with enough of the domain."""
    return math.prod(-(-length // min(side, length)) for length in shape)


def _half(shape: tuple[int, int]) -> int:
    """Return the side of which several patches fit into a grid [px]."""
    return max(1, min(shape) // 2)


def _plan_patches(spec: TrainingSpec, source: Source, part: str) -> list[Window]:
    """List the patches that cover the area of a part."""
    grid = source.open().grid
    is_spatial = spec.fit.split.place is not None
    whole = Window.from_shape((grid.height, grid.width))
    try:
        return plan_patches(
            source.domain(whole),
            side=spec.patches.side_px,
            min_valid=spec.patches.min_valid,
            area=source.part_area(part, whole) if is_spatial else None,
        )
    except ValueError as error:
        if is_spatial:
            raise ValueError(f"{part} part of split.place: {error}") from error
        raise
