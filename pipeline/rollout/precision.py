"""How far a forecast in bf16 is from the same one in float32, published with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from pipeline.executors import Executor
from pipeline.rollout.forecaster import forecaster_of
from pipeline.rollout.request import ForecastRequest
from pipeline.tiling.tiles import Tile


def describe_precision(
    request: ForecastRequest, tiles: Sequence[Tile], executor: Executor
) -> dict[str, Any]:
    """Forecast one tile from the middle in both precisions; return their errors per lead.

    Returns:
        attributes of the forecast, in its units; {} where it is float32 anyway.
    """
    if request.precision == "32":
        return {}
    domain = forecaster_of(request).source.domain
    middle = len(tiles) // 2
    outward = sorted(range(len(tiles)), key=lambda index: abs(index - middle))
    tile = next((tiles[i] for i in outward if domain(tiles[i].owns).any()), tiles[middle])
    compare = partial(compare_precision, request)
    ((_, attributes),) = executor.with_gpu(request.needs_gpu).map_unordered(compare, [tile])
    return attributes


def compare_precision(request: ForecastRequest, tile: Tile) -> dict[str, Any]:
    """Compute the errors of a tile in the precision of the request against float32."""
    forecaster = forecaster_of(request)
    low, high = (
        forecaster.forecast_physical(tile, replace(request, precision=precision))
        for precision in (request.precision, "32")
    )
    difference = (low - high)[request.central_index]  # (leads, y, x)
    domain = forecaster.source.domain(tile.owns)
    error = np.abs(difference, dtype=np.float64)[:, domain]  # (leads, pixel)
    rms = np.sqrt(np.square(error).mean(axis=1)) if error.size else np.zeros(len(error))
    return {
        "precision": request.precision,
        "precision_measured_on": f"one tile, {tile.owns}, against float32",
        "precision_error_rms": rms.round(6).tolist(),
        "precision_error_largest": error.max(axis=1, initial=0.0).round(6).tolist(),
    }
