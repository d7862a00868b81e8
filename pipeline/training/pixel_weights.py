"""Weights of pixels in the loss: by the class of the value, by the area."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import mul

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
    one that is below by less than float32 resolves in that space may count as equal.
    """

    source: Source
    span: RolloutSpan
    thresholds: tuple[float, ...]
    factors: tuple[float, ...]

    def __call__(self, batch: DeviceBatch) -> Tensor:
        """Return the factor of every pixel of all leads (b, l, y, x)."""
        truth = batch.target[:, -self.span.leads :]
        bounds = np.stack([self._bounds(sample) for sample in batch.samples], axis=1)
        return threshold_weights(
            truth, torch.from_numpy(bounds).to(truth), truth.new_tensor(self.factors)
        )

    def _bounds(self, sample: Sample) -> Float32Array:
        """Compute the thresholds in the network's space (k, l, y, x)."""
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
    """Weight of each row of the grid (y,)."""

    def __call__(self, batch: DeviceBatch) -> Tensor:
        """Return the weight of every row of the samples (b, 1, y, 1)."""
        windows = [sample.window for sample in batch.samples]
        rows = np.stack([self.rows[window.y0 : window.y1] for window in windows])  # (b, y)
        return torch.from_numpy(rows).to(batch.target)[:, None, :, None]


def build_pixel_weights(
    terms: Sequence[LossSpec], source: Source, span: RolloutSpan
) -> PixelWeights | None:
    """Build the pixel weights of each term of a loss; None when all pixels count alike.

    Raises:
        ValueError: a weighting cannot be done exactly on this grid or with these transforms.
    """
    per_term = [_build_weights(term, source, span) for term in terms]
    if not any(per_term):
        return None

    def pixel_weights(batch: DeviceBatch) -> list[Tensor | None]:
        return [_product([weight(batch) for weight in weights]) for weights in per_term]

    return pixel_weights


def _build_weights(
    term: LossSpec, source: Source, span: RolloutSpan
) -> list[ClassWeights | LatitudeWeights]:
    weights: list[ClassWeights | LatitudeWeights] = []
    if term.classes is not None:
        check_classes(term.classes, [step["kind"] for step in source.stack.target.chain])
        weights.append(
            ClassWeights(source, span, term.classes.thresholds, term.classes.factors)
        )
    if term.area:
        grid = source.open().grid
        domain = source.domain(Window.from_shape((grid.height, grid.width)))
        weights.append(LatitudeWeights(row_areas(grid, domain)))
    return weights


def check_classes(classes: ClassSpec, transforms: Sequence[str]) -> None:
    """Refuse thresholds that the target's transforms map to one value.

    Raises:
        ValueError: a threshold lies where a transform knows no values.
    """
    nonnegative = [kind for kind in transforms if kind in _NONNEGATIVE_TRANSFORMS]
    negative = [threshold for threshold in classes.thresholds if threshold < 0]
    if nonnegative and negative:
        raise ValueError(
            f"classes.thresholds={negative} lie below zero but the target's transform "
            f"{nonnegative[0]!r} takes all amounts below zero as zero, so these classes cannot "
            "be told apart; leave them out or take another transform"
        )


def row_areas(grid: GeoBox, domain: BoolArray) -> Float64Array:
    """Compute the area of a pixel of each row (y,), relative to the mean over a domain (y, x).

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


def _product(weights: Sequence[Tensor]) -> Tensor | None:
    return reduce(mul, weights) if weights else None
