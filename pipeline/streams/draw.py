"""From the samples of a training to the patches that its epochs draw."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.spread import Spread
from pipeline.streams.importance import measure_chances
from pipeline.streams.patchplan import PatchPlan
from pipeline.streams.read import Source
from pipeline.streams.samples import Sample, Span
from pipeline.streams.spec import PatchSpec
from pipeline.tiling.patches import Room
from stores.windows import Window


def build_patch_plan(
    patches: PatchSpec,
    source: Source,
    span: Span,
    samples: Sequence[Sample],
    spread: Spread,
    *,
    seed: int,
) -> PatchPlan:
    """Plan every epoch of a training from the samples of its training part.

    Reads the training part once where patches are drawn by what they hold.
    """
    cube = source.open()
    chances = (
        None
        if patches.draw == "uniform"
        else measure_chances(source, span, samples, patches.draw, spread)
    )
    whole = Window.whole((cube.grid.height, cube.grid.width))
    room = Room(source.domain(whole), patches.min_valid, source.area("train", whole))
    return PatchPlan(
        samples=tuple(samples),
        seed=seed,
        per_epoch=patches.per_epoch,
        chances=chances,
        jitter_px=patches.jitter_px,
        room=room if patches.jitter_px else None,
        buffer=patches.buffer,
        cube_version=cube.version,
        step=cube.step,
    )
