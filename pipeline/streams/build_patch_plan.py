"""From the samples of a training to the patches that its epochs draw."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.executors import Executor
from pipeline.streams.patch_plan import PatchPlan
from pipeline.streams.samples import RolloutSpan, Sample
from pipeline.streams.sampling_weights import sampling_weights
from pipeline.streams.source import Source
from pipeline.streams.spec import PatchSpec
from pipeline.tiling.patches import PatchConstraint
from stores.windows import Window


def build_patch_plan(
    patches: PatchSpec,
    source: Source,
    span: RolloutSpan,
    samples: Sequence[Sample],
    executor: Executor,
    *,
    seed: int,
) -> PatchPlan:
    """Plan every epoch of a training from the samples of its training part.

    Reads the training part once where patches are drawn by what they hold.
    """
    cube = source.open()
    weights = (
        None
        if patches.draw == "uniform"
        else sampling_weights(source, span, samples, patches.draw, executor)
    )
    whole = Window.from_shape((cube.grid.height, cube.grid.width))
    constraint = PatchConstraint(
        source.domain(whole), patches.min_valid, source.part_area("train", whole)
    )
    return PatchPlan(
        samples=tuple(samples),
        seed=seed,
        per_epoch=patches.per_epoch,
        weights=weights,
        jitter_px=patches.jitter_px,
        constraint=constraint if patches.jitter_px else None,
        buffer=patches.buffer,
        cube_version=cube.version,
        step=cube.step,
    )
