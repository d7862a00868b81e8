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

_FLOOR = 0.01  # Hann alone is zero on the border of a window, where nobody else may be

TaperWeights = Float64Array


def taper(length: int, kind: str) -> TaperWeights:
    """Give the weight of each pixel along one axis of a tile's window; positive everywhere."""
    return look_up(_TAPERS, kind, "rollout.taper")((np.arange(length) + 0.5) / length)


def _hann(place: TaperWeights) -> TaperWeights:
    return _FLOOR + (1 - _FLOOR) * np.sin(np.pi * place) ** 2


def _linear(place: TaperWeights) -> TaperWeights:
    return 2 * np.minimum(place, 1 - place)


_TAPERS = {"hann": _hann, "linear": _linear}


def blend_weights(tiles: Sequence[Tile], window: Window, kind: str) -> TaperWeights:
    """Give every tile's share of a window (n, y, x); 0 where it does not reach, sum 1."""
    weights = np.zeros((len(tiles), *window.shape))
    for weight, tile in zip(weights, tiles, strict=True):
        both = tile.reads.clip(window)
        rows, cols = (taper(side, kind) for side in tile.reads.shape)
        here = np.multiply.outer(rows, cols)[both.relative_to(tile.reads).slices]
        weight[both.relative_to(window).slices] = here
    shares: TaperWeights = weights / weights.sum(axis=0)
    return shares


@dataclass(frozen=True, slots=True)
class UnblendedPass:
    """Roll every tile over all leads, and keep its whole window."""

    request: ForecastRequest
    plan: RolloutPlan
    stage: Path
    label: str = "alone"

    def __call__(self, groups: Sequence[TileGroup]) -> int:
        """Roll the groups of one task; nothing of the forecast is written yet."""
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

    def _roll(
        self, forecaster: Forecaster, group: TileGroup, loaded: TileBatch
    ) -> TileForecast:
        return forecaster.rollout(group, loaded, self.request, LeadBlock(0, self.request.leads))

    def _write(self, group: TileGroup, rolled: TileForecast) -> int:
        for tile, members in zip(group, rolled.frames, strict=True):
            write_tile_forecast(self.stage, self.plan.tile_index(tile), members)
            ledger_of(self.stage).mark(ledger_key(self, tile), {})
        return 0


@dataclass(frozen=True, slots=True)
class BlendPass:
    """Average what tiles say about the pixels that each of them owns."""

    request: ForecastRequest
    plan: RolloutPlan
    stage: Path
    label: str = "blend"

    def __call__(self, groups: Sequence[TileGroup]) -> int:
        """Blend the tiles of one task; return the pixels written."""
        forecaster = forecaster_of(self.request)
        return sum(self._blend(forecaster, tile) for group in groups for tile in group)

    def _blend(self, forecaster: Forecaster, tile: Tile) -> int:
        request, block, owns = self.request, LeadBlock(0, self.request.leads), tile.owns
        near = [other for other in self.plan.tiles if other.reads.intersects(owns)]
        shares = blend_weights(near, owns, request.taper)
        parts = [paste(self._said(other, owns), other, owns) for other in near]
        blended = weighted_mean(parts, shares)
        write_products(forecaster, request, self.stage, tile, block, blended)
        restore = forecaster.inverse_transform_of(tile, request, block)
        physical = [restore(point_forecast(part, request)) for part in parts]
        receipt = disagreement(np.stack(physical), shares)
        ledger_of(self.stage).mark(ledger_key(self, tile), receipt)
        return int(blended[0].size)

    def _said(self, tile: Tile, window: Window) -> Float32Array:
        both = tile.reads.clip(window).relative_to(tile.reads)
        return read_tile_forecast(self.stage, self.plan.tile_index(tile), both)


def blend_in_memory(
    forecaster: Forecaster, request: ForecastRequest, near: Sequence[Tile], owns: Window
) -> Float32Array:
    """Forecast a window (m, leads, y, x) from all tiles near it, without any store."""
    said = [forecaster.forecast_normalized([tile], request)[0] for tile in near]
    return blend_predictions(said, near, owns, request.taper)


def blend_predictions(
    said: Sequence[Float32Array], tiles: Sequence[Tile], window: Window, kind: str
) -> Float32Array:
    """Average what tiles say of all that they read over a window (m, leads, y, x)."""
    parts = [
        paste(whole[..., *tile.reads.clip(window).relative_to(tile.reads).slices], tile, window)
        for whole, tile in zip(said, tiles, strict=True)
    ]
    return weighted_mean(parts, blend_weights(tiles, window, kind))


def paste(said: Float32Array, tile: Tile, window: Window) -> Float32Array:
    """Put what a tile says into a window (m, leads, y, x); 0 where it does not reach."""
    part = np.zeros((*said.shape[:2], *window.shape), dtype=np.float32)
    part[..., *tile.reads.clip(window).relative_to(window).slices] = said
    return part


def weighted_mean(parts: Sequence[Float32Array], shares: TaperWeights) -> Float32Array:
    """Average what tiles say (m, leads, y, x) by their shares (n, y, x); summed in double."""
    total = np.zeros(parts[0].shape)
    for part, share in zip(parts, shares, strict=True):
        total += share * part
    return total.astype(np.float32)


def disagreement(said: Float32Array, shares: TaperWeights) -> dict[str, Any]:
    """Sum up how far tiles (n, leads, y, x) differ from their mean, where several reach.

    Returns:
        per lead: the sum of squares of the weighted standard deviation, its largest value, and
        over how many pixels; in the units of ``said``.
    """
    several = (shares > 0).sum(axis=0) > 1  # (y, x)
    weights = np.where(several, shares, 0)[:, None]  # (n, 1, y, x)
    mean = (weights * said).sum(axis=0)
    variance = (weights * (said - mean) ** 2).sum(axis=0)  # (leads, y, x)
    counted = np.isfinite(variance) & several
    variance = np.where(counted, variance, 0)
    return {
        "pixels": int(counted[0].sum()),
        "squares": variance.sum(axis=(1, 2)).tolist(),
        "largest": np.sqrt(variance.max(axis=(1, 2))).tolist(),
    }


def describe_blend(request: ForecastRequest, plan: RolloutPlan, stage: Path) -> dict[str, Any]:
    """Say how a blended forecast was made and how far its tiles disagree, per lead."""
    receipts = ledger_of(stage).receipts()
    found = [r for entry, r in receipts.items() if entry.startswith("blend ")]
    n_px = max(1, sum(receipt["pixels"] for receipt in found))
    squares = np.sum([receipt["squares"] for receipt in found], axis=0)
    largest = np.max([receipt["largest"] for receipt in found], axis=0)
    return {
        "rollout": f"approximate: {pluralize(plan.n_tiles, 'tile')} of {plan.core_px} px forecast "
        f"on their own and blended over {plan.halo_px} px on each side with {request.taper} "
        "weights",
        "tile_disagreement_rms": np.sqrt(squares / n_px).round(6).tolist(),
        "tile_disagreement_largest": largest.round(6).tolist(),
    }


def plan_blend(request: ForecastRequest, plan: RolloutPlan, stage: Path) -> list[RolloutPass]:
    """List the two passes, with room for the windows of all tiles."""
    shape = (plan.n_tiles, request.n_outputs, request.leads, *plan.read_shape_px)
    create_tile_forecasts(stage, Cube.open(request.cube).grid, shape=shape)
    plain = replace(plan)  # without the list of tiles, which every task would carry along
    return [UnblendedPass(request, plain, stage), BlendPass(request, plain, stage)]
