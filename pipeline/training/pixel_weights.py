"""How much each pixel counts in the loss: by the class of its value, by its area."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from odc.geo.geobox import GeoBox
from torch import Tensor

from pipeline.losses import threshold_weights
from pipeline.streams.samples import RolloutSpan, Sample
from pipeline.streams.source import Source
from pipeline.training.spec import ClassSpec, LossSpec
from pipeline.training.task import DeviceBatch, PixelWeights
from stores.array_types import BoolArray, Float32Array, Float64Array
from stores.windows import Window

_NONNEGATIVE_TRANSFORMS = ("log1p", "sqrt")  # transforms that know no values below zero


@dataclass(frozen=True)
class ClassWeights:
    """Weigh pixels by the class of the observed value, in physical units.

    A threshold takes the same way into the network's space as the data, at the pixel and the
    season of each frame. Every transform rises, so a value at or above the threshold stays so;
    one that is below by less than float32 can tell in that space may count as equal.
    """

    source: Source
    span: RolloutSpan
    thresholds: tuple[float, ...]
    factors: tuple[float, ...]

    def __call__(self, batch: DeviceBatch) -> Tensor:
        """Give the factor of every pixel of all leads (b, leads, y, x)."""
        truth = batch.target[:, -self.span.leads :]
        bounds = np.stack([self._bounds(sample) for sample in batch.samples], axis=1)
        return threshold_weights(
            truth, torch.from_numpy(bounds).to(truth), truth.new_tensor(self.factors)
        )

    def _bounds(self, sample: Sample) -> Float32Array:
        """Bring the thresholds into the network's space (k, leads, y, x)."""
        step = self.source.open().step
        axis = self.source.axis(self.span.lead_times(step, sample.init))
        chain = self.source.chain(self.source.stack.target, sample.window)
        shape = (len(axis.times), *sample.window.shape)
        return np.stack(
            [
                chain.forward(np.full(shape, threshold, dtype=np.float32), axis)
                for threshold in self.thresholds
            ]
        )


@dataclass(frozen=True)
class LatitudeWeights:
    """Weigh pixels by their area relative to the mean of the domain."""

    rows: Float64Array
    """Weight of each row of the grid."""

    def __call__(self, batch: DeviceBatch) -> Tensor:
        """Give the weight of every pixel of one frame (b, 1, y, 1)."""
        parts = [self.rows[s.window.y0 : s.window.y1] for s in batch.samples]
        return torch.from_numpy(np.stack(parts)).to(batch.target)[:, None, :, None]


def build_pixel_weights(
    terms: Sequence[LossSpec], source: Source, span: RolloutSpan
) -> PixelWeights | None:
    """Build what weighs the pixels for each term of a loss; None when all pixels count alike.

    Raises:
        ValueError: a weighting cannot be done exactly on this grid or with these transforms.
    """
    each = [_of_term(term, source, span) for term in terms]
    if not any(each):
        return None

    def weigh(batch: DeviceBatch) -> list[Tensor | None]:
        return [_product([part(batch) for part in parts]) for parts in each]

    return weigh


def _of_term(
    term: LossSpec, source: Source, span: RolloutSpan
) -> list[ClassWeights | LatitudeWeights]:
    parts: list[ClassWeights | LatitudeWeights] = []
    if term.classes is not None:
        check_classes(term.classes, [step["kind"] for step in source.stack.target.chain])
        parts.append(ClassWeights(source, span, term.classes.thresholds, term.classes.factors))
    if term.area:
        grid = source.open().grid
        domain = source.domain(Window.from_shape((grid.height, grid.width)))
        parts.append(LatitudeWeights(row_areas(grid, domain)))
    return parts


def check_classes(classes: ClassSpec, transforms: Sequence[str]) -> None:
    """Refuse thresholds that the target's transforms cannot tell apart.

    Raises:
        ValueError: a threshold lies where a transform knows no values.
    """
    known = [kind for kind in transforms if kind in _NONNEGATIVE_TRANSFORMS]
    below = [threshold for threshold in classes.thresholds if threshold < 0]
    if known and below:
        raise ValueError(
            f"classes.thresholds={below} lie below zero but the target's transform "
            f"{known[0]!r} takes all amounts below zero as zero, so these classes cannot be "
            "told apart; leave them out or take another transform"
        )


def row_areas(grid: GeoBox, domain: BoolArray) -> Float64Array:
    """Give the area of a pixel of each row, relative to the mean over the domain (y, x).

    Raises:
        ValueError: the grid is not one of degrees with rows along circles of latitude.
    """
    if not grid.crs or not grid.crs.geographic or grid.affine.d != 0:
        raise ValueError(
            f"loss.area needs rows along circles of latitude but the grid is {grid.crs}, where "
            "areas do not follow the cosine of a row's latitude; leave area out"
        )
    latitudes = grid.affine.f + grid.affine.e * (np.arange(grid.height) + 0.5)
    areas = np.cos(np.deg2rad(latitudes))
    mean = np.average(areas, weights=domain.sum(axis=1))
    rows: Float64Array = areas / mean
    return rows


def _product(parts: Sequence[Tensor]) -> Tensor | None:
    if not parts:
        return None
    first, *others = parts
    for other in others:
        first = first * other
    return first
