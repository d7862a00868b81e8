"""How often patches are drawn: more where something happens, or where it rarely does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Literal

import numpy as np

from pipeline.executors import Executor
from pipeline.registry import look_up
from pipeline.streams.patch_plan import SamplingWeights
from pipeline.streams.samples import RolloutSpan, Sample
from pipeline.streams.source import Source
from stores.array_types import Float32Array, Float64Array
from stores.times import Time, Times
from stores.windows import Window

DrawKind = Literal["quantiles", "changes"]
Activity = Float64Array
ScanTask = tuple[tuple[Time, ...], int, tuple[Window, ...]]
"""Frames, how many of the last ones are measured, and the windows of one band."""

_STRATA = (0.5, 0.8, 0.95)  # of the samples, by their mean: four strata, drawn equally often
_MIN_ACTIVITY = (
    0.1  # of the mean change: nothing is never drawn, because calm is to be learned too
)
_BAND_PX = 512  # rows that are scanned together
_SCAN_BYTES = 64 << 20


def sampling_weights(
    source: Source,
    span: RolloutSpan,
    samples: Sequence[Sample],
    kind: DrawKind,
    executor: Executor,
) -> SamplingWeights:
    """Measure how often each sample is to be drawn (n,), from the frames that it forecasts.

    Frames are read in the network's space, and only those that some sample reads, so nothing
    outside the part is seen. Losses are not weighted back: what is drawn more counts more.
    """
    step = source.open().step
    leads = {init: span.lead_times(step, init) for init in {s.init for s in samples}}
    histories = [span.history_times(step, init) for init in leads]
    frames = np.unique(np.concatenate([*leads.values(), *histories]))
    windows = sorted({sample.window for sample in samples})
    activity = _scan(source, kind, frames, windows, executor)
    window_index = {window: index for index, window in enumerate(windows)}
    rows = {init: np.searchsorted(frames, times) for init, times in leads.items()}
    means = np.array([activity[rows[s.init], window_index[s.window]].mean() for s in samples])
    return look_up(_WEIGHTS, kind, "training.patches.draw")(means)


def stratified_weights(means: Activity, edges: Sequence[float] = _STRATA) -> SamplingWeights:
    """Compute weights (n,) by which each stratum of the means (n,) is drawn equally often.

    Strata lie between quantiles; those without samples, when many means are equal, are left
    out.
    """
    stratum = np.searchsorted(np.quantile(means, edges), means, side="right")
    _, members, counts = np.unique(stratum, return_inverse=True, return_counts=True)
    weights: SamplingWeights = 1.0 / counts[members]
    return weights


def _floored_weights(means: Activity) -> SamplingWeights:
    """Compute weights (n,) from how much changes; small where nothing does, never 0."""
    return means + (_MIN_ACTIVITY * float(means.mean()) or 1.0)


_WEIGHTS: Mapping[str, Callable[[Activity], SamplingWeights]] = {
    "quantiles": stratified_weights,
    "changes": _floored_weights,
}


def _scan(
    source: Source, kind: DrawKind, frames: Times, windows: Sequence[Window], executor: Executor
) -> Activity:
    """Measure every frame in every window (t, w)."""
    bands = [
        tuple(band) for _, band in groupby(windows, key=lambda window: window.y0 // _BAND_PX)
    ]
    columns = []
    for band in bands:
        blocks = executor.map(partial(_measure, source, kind), list(_items(frames, band)))
        columns.append(np.concatenate(list(blocks)))
    return np.concatenate(columns, axis=1)


def _items(frames: Times, band: tuple[Window, ...]) -> Iterator[ScanTask]:
    """Cut the work of a band into stretches of frames, each with the one before it."""
    n = max(1, _SCAN_BYTES // (4 * Window.bounding(band).size))
    for start in range(0, len(frames), n):
        n_measured = len(frames[start : start + n])
        yield tuple(frames[max(0, start - 1) : start + n]), n_measured, band


def _measure(source: Source, kind: DrawKind, item: ScanTask) -> Activity:
    """Measure some frames in the windows of a band (t, w); 0 where nothing is valid."""
    times, n_measured, windows = item
    box = Window.bounding(windows)
    values = source.target(box, np.array(times))
    if kind == "changes":
        values = np.abs(np.diff(values, axis=0, prepend=values[:1]))
    slices = [window.relative_to(box).slices for window in windows]
    measured = values[-n_measured:]
    return np.array([[_mean(frame[pixels]) for pixels in slices] for frame in measured])


def _mean(values: Float32Array) -> float:
    valid = np.isfinite(values)
    return float(values.mean(where=valid, dtype=np.float64)) if valid.any() else 0.0
