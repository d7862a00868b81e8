"""The approximate rollout: tiles forecast on their own and are averaged where they overlap.

For networks that couple far pixels, of which no tile can equal the untiled forecast. What is
published says that it is approximate, and how far the tiles disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.registry import look_up
from pipeline.rollout.forecaster import Forecaster, TileBatch, TileForecast, forecaster_of
from pipeline.rollout.passes import RolloutPass, TileGroup, ledger_key
from pipeline.rollout.pipelining import pipelined
from pipeline.rollout.products import point_forecast
from pipeline.rollout.publishing import ledger_of, write_products
from pipeline.rollout.request import ForecastRequest
from pipeline.rollout.rollout_plan import LeadBlock, RolloutPlan
from pipeline.tiling.tiles import Tile
from stores.array_types import Float32Array, Float64Array
from stores.cube import Cube
from stores.formatting import pluralize
from stores.scratch import create_tile_forecasts, read_tile_forecast, write_tile_forecast
from stores.windows import Window

_FLOOR = 0.01  # Hann alone is zero on the border of a window, where no other tile may reach

TaperWeights = Float64Array


def taper(length: int, kind: str) -> TaperWeights:
    """Compute the weights (length,) along one axis of a tile's window; all are positive."""
    return look_up(_TAPERS, kind, "rollout.taper")((np.arange(length) + 0.5) / length)


def _hann(position: Float64Array) -> TaperWeights:
    return _FLOOR + (1 - _FLOOR) * np.sin(np.pi * position) ** 2


def _linear(position: Float64Array) -> TaperWeights:
    return 2 * np.minimum(position, 1 - position)


_TAPERS = {"hann": _hann, "linear": _linear}


def blend_weights(tiles: Sequence[Tile], window: Window, kind: str) -> TaperWeights:
    """Compute each tile's weight in a window (n, y, x): 0 where it does not reach, sum 1."""
    weights = np.zeros((len(tiles), *window.shape))
    for weight, tile in zip(weights, tiles, strict=True):
        intersection = tile.reads.clip(window)
        rows, cols = (taper(side, kind) for side in tile.reads.shape)
        taper_weights = np.multiply.outer(rows, cols)  # (y, x)
        in_tile = intersection.relative_to(tile.reads).slices
        weight[intersection.relative_to(window).slices] = taper_weights[in_tile]
    normalized: TaperWeights = weights / weights.sum(axis=0)
    return normalized


@dataclass(frozen=True, slots=True)
class UnblendedPass:
    """Roll every tile over all leads, and keep its whole window."""

    request: ForecastRequest
    plan: RolloutPlan
    stage: Path
    label: str = "alone"

    def __call__(self, groups: Sequence[TileGroup]) -> int:
        """Roll the groups of one task out; return 0, as no pixel of the forecast is written."""
        forecaster = forecaster_of(self.request)
        receipts = pipelined(
            groups,
            read=partial(self._read, forecaster),
            compute=partial(self._roll, forecaster),
            write=self._write,
        )
        return sum(receipts)

    def _read(self, forecaster: Forecaster, group: TileGroup) -> TileBatch:
        block = LeadBlock(0, self.request.leads)
        return forecaster.collate(
            [forecaster.read(tile, self.request, block) for tile in group]
        )

    def _roll(self, forecaster: Forecaster, group: TileGroup, batch: TileBatch) -> TileForecast:
        return forecaster.rollout(group, batch, self.request, LeadBlock(0, self.request.leads))

    def _write(self, group: TileGroup, forecast: TileForecast) -> int:
        for tile, members in zip(group, forecast.frames, strict=True):
            write_tile_forecast(self.stage, self.plan.tile_index(tile), members)
            ledger_of(self.stage).mark(ledger_key(self, tile), {})
        return 0


@dataclass(frozen=True, slots=True)
class BlendPass:
    """Average the predictions of all tiles that reach the pixels which each tile owns."""

    request: ForecastRequest
    plan: RolloutPlan
    stage: Path
    label: str = "blend"

    def __call__(self, groups: Sequence[TileGroup]) -> int:
        """Blend the tiles of one task; return the pixels written."""
        forecaster = forecaster_of(self.request)
        return sum(self._blend(forecaster, tile) for group in groups for tile in group)

    def _blend(self, forecaster: Forecaster, tile: Tile) -> int:
        request = self.request
        owns = tile.owns
        block = LeadBlock(0, request.leads)
        neighbors = [other for other in self.plan.tiles if other.reads.intersects(owns)]
        weights = blend_weights(neighbors, owns, request.taper)
        pasted = [paste(self._read_overlap(other, owns), other, owns) for other in neighbors]
        blended = weighted_mean(pasted, weights)
        write_products(forecaster, request, self.stage, tile, block, blended)
        restore = forecaster.inverse_transform_of(tile, request, block)
        physical = [restore(point_forecast(values, request)) for values in pasted]
        receipt = disagreement(np.stack(physical), weights)
        ledger_of(self.stage).mark(ledger_key(self, tile), receipt)
        return int(blended[0].size)

    def _read_overlap(self, tile: Tile, window: Window) -> Float32Array:
        """Read the prediction of a tile where it reaches a window (m, leads, y, x)."""
        intersection = tile.reads.clip(window).relative_to(tile.reads)
        return read_tile_forecast(self.stage, self.plan.tile_index(tile), intersection)


def blend_in_memory(
    forecaster: Forecaster, request: ForecastRequest, neighbors: Sequence[Tile], owns: Window
) -> Float32Array:
    """Forecast a window (m, leads, y, x) from all tiles that reach it, without any store."""
    predictions = [forecaster.forecast_normalized([tile], request)[0] for tile in neighbors]
    return blend_predictions(predictions, neighbors, owns, request.taper)


def blend_predictions(
    predictions: Sequence[Float32Array], tiles: Sequence[Tile], window: Window, kind: str
) -> Float32Array:
    """Average predictions of all that tiles read (m, leads, y, x) over a window of them."""
    pasted = [
        paste(full[..., *tile.reads.clip(window).relative_to(tile.reads).slices], tile, window)
        for full, tile in zip(predictions, tiles, strict=True)
    ]
    return weighted_mean(pasted, blend_weights(tiles, window, kind))


def paste(overlap: Float32Array, tile: Tile, window: Window) -> Float32Array:
    """Return a window (m, leads, y, x) with the overlap of a tile, and 0 beyond it."""
    pasted = np.zeros((*overlap.shape[:2], *window.shape), dtype=np.float32)
    pasted[..., *tile.reads.clip(window).relative_to(window).slices] = overlap
    return pasted


def weighted_mean(pasted: Sequence[Float32Array], weights: TaperWeights) -> Float32Array:
    """Average predictions (m, leads, y, x) by weights (n, y, x); summed in double."""
    total = np.zeros(pasted[0].shape)
    for values, weight in zip(pasted, weights, strict=True):
        total += weight * values
    return total.astype(np.float32)


def disagreement(predictions: Float32Array, weights: TaperWeights) -> dict[str, Any]:
    """Sum up how far tiles (n, leads, y, x) differ from their mean, where several reach.

    Args:
        predictions: of each tile, pasted into one window (n, leads, y, x).
        weights: of each tile (n, y, x), sum 1.

    Returns:
        per lead: the sum of squares of the weighted standard deviation, its largest value, and
        over how many pixels; in the units of ``predictions``.
    """
    is_shared = (weights > 0).sum(axis=0) > 1  # (y, x)
    shared_weights = np.where(is_shared, weights, 0)[:, None]  # (n, 1, y, x)
    mean = (shared_weights * predictions).sum(axis=0)
    variance = (shared_weights * (predictions - mean) ** 2).sum(axis=0)  # (leads, y, x)
    counts = np.isfinite(variance) & is_shared
    counted_variance = np.where(counts, variance, 0)
    return {
        "pixels": int(counts[0].sum()),
        "squares": counted_variance.sum(axis=(1, 2)).tolist(),
        "largest": np.sqrt(counted_variance.max(axis=(1, 2))).tolist(),
    }


def describe_blend(request: ForecastRequest, plan: RolloutPlan, stage: Path) -> dict[str, Any]:
    """Describe how a blended forecast was made and how far its tiles disagree, per lead."""
    all_receipts = ledger_of(stage).receipts()
    receipts = [r for key, r in all_receipts.items() if key.startswith("blend ")]
    n_px = max(1, sum(receipt["pixels"] for receipt in receipts))
    squares = np.sum([receipt["squares"] for receipt in receipts], axis=0)
    largest = np.max([receipt["largest"] for receipt in receipts], axis=0)
    tiles = f"{pluralize(plan.n_tiles, 'tile')} of {plan.core_px} px"
    return {
        "rollout": f"approximate: {tiles} forecast on their own and "
        f"blended over {plan.halo_px} px on each side with {request.taper} weights",
        "tile_disagreement_rms": np.sqrt(squares / n_px).round(6).tolist(),
        "tile_disagreement_largest": largest.round(6).tolist(),
    }


def plan_blend(request: ForecastRequest, plan: RolloutPlan, stage: Path) -> list[RolloutPass]:
    """List the two passes, and create the scratch array for the windows of all tiles."""
    shape = (plan.n_tiles, request.n_outputs, request.leads, *plan.read_shape_px)
    create_tile_forecasts(stage, Cube.open(request.cube).grid, shape=shape)
    small = replace(plan)  # without the list of tiles, which every task would carry along
    return [UnblendedPass(request, small, stage), BlendPass(request, small, stage)]
