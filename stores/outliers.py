"""Frames that are unlike the others of their season: damage that no checksum of theirs shows.

A file that was copied to another date, has another unit, or lost a part of its pixels can be
read without an error. What the inventory counted of a file is compared with the median of the
frames of the same season; how far they lie from it is measured by their own median distance, so
that a few outliers do not hide each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from stores.array_types import BoolArray, Float64Array
from stores.formatting import abbreviate, pluralize
from stores.geotiff import PixelCounts
from stores.seasons import Seasons
from stores.series import FileSeries, ScannedFile

_MIN_FRAMES = 8
"""A median of fewer says little of what is usual."""
_MAX_DEVIATIONS = 8.0
_MAD_TO_SIGMA = 1.4826  # of a normal distribution, for a median distance
_MIN_PX = 64  # fewer can be alike by chance
# Of a series; where more frames deviate, deviating is usual.
_MAX_OUTLIER_FRACTION = 1 / 6
_MAX_OUTLIERS = 2
_NEAR_ZERO = 0.01  # of the mean size


@dataclass(frozen=True, slots=True)
class FrameStatistic:
    """One number of a frame that is much the same in all frames of a season."""

    compute: Callable[[PixelCounts], float]
    min_deviation: float
    """Distance from the median below which nothing is an outlier."""
    message: str
    """What is reported of an outlier, with ``{value}`` and ``{median}``."""
    advice: str
    applies_to_classes: bool = True
    """Whether codes of classes have it."""

    def format_message(self, value: float, median: float) -> str:
        """Describe how a frame deviates."""
        return self.message.format(value=value, median=median)


def _typical(counts: PixelCounts) -> float:
    """Compute the mean size of what is not zero, as a logarithm."""
    n = counts.valid - counts.zeros
    return float(np.log(counts.sum_abs / n)) if n else np.nan


def _largest(counts: PixelCounts) -> float:
    largest = max(abs(counts.minimum), abs(counts.maximum))
    return float(np.log(largest)) if largest > 0 else np.nan


SCALE_STATISTIC = FrameStatistic(
    _typical,
    float(np.log(3)),
    "values are {value:.4g} in the mean instead of {median:.4g}",
    "they may have another scale or units",
    applies_to_classes=False,
)
LARGEST = FrameStatistic(
    _largest,
    float(np.log(10)),
    "the largest value is {value:.4g} instead of {median:.4g}",
    "some of their pixels may be damaged; valid_range would leave them out",
    applies_to_classes=False,
)
VALID = FrameStatistic(
    lambda counts: counts.valid / counts.size,
    0.01,
    "{value:.2%} of the pixels are valid instead of {median:.2%}",
    "a part of them may be lost or made up",
)
ZEROS = FrameStatistic(
    lambda counts: counts.zeros / counts.size,
    0.005,
    "{value:.2%} of the pixels are 0 instead of {median:.2%}",
    "a part of them may be lost",
)
_LOGARITHMS = (SCALE_STATISTIC, LARGEST)


@dataclass(frozen=True, slots=True)
class FrameOutlier:
    """How one frame deviates."""

    date: str
    file: str
    text: str

    def __str__(self) -> str:
        return f"{self.date} ({self.file}): {self.text}"


@dataclass(frozen=True, slots=True)
class OutlierReport:
    """How some frames of a variable deviate, and what it may mean."""

    variable: str
    outliers: tuple[FrameOutlier, ...]
    advice: str

    def __str__(self) -> str:
        shown = "; ".join(map(str, self.outliers[:_MIN_FRAMES]))
        rest = len(self.outliers) - _MIN_FRAMES
        more = f" and {rest} more" if rest > 0 else ""
        return (
            f"{self.variable}: {pluralize(len(self.outliers), 'frame')} unlike the others of "
            f"their season: {shown}{more}, so {self.advice}; compare the files with their "
            "source"
        )


def find_outliers(series: FileSeries) -> Iterator[OutlierReport]:
    """List the outliers of a series; none where too few frames show what is usual."""
    yield from _find_copies(series)
    files = [file for file in series.files if file.has_valid_pixels and file.time is not None]
    if len(files) < _MIN_FRAMES:
        return
    groups = _group_by_season(series, files)
    for statistic in (SCALE_STATISTIC, LARGEST, VALID, ZEROS):
        if series.variable.is_classes and not statistic.applies_to_classes:
            continue
        outliers = _compare(series, files, groups, statistic)
        if outliers:
            yield OutlierReport(series.variable.name, tuple(outliers), statistic.advice)


def _find_copies(series: FileSeries) -> Iterator[OutlierReport]:
    """Find dates whose files hold the same bytes; some quantities rest, and many are alike."""
    by_digest: dict[str, list[ScannedFile]] = defaultdict(list)
    for file in series.files:
        if file.scan and _is_distinctive(file.scan.counts):
            by_digest[file.digest].append(file)
    n_copies = sum(len(files) for files in by_digest.values() if len(files) > 1)
    if n_copies > max(_MAX_OUTLIERS, _MAX_OUTLIER_FRACTION * len(series.files)):
        return
    outliers = [
        FrameOutlier(
            series.label(files[0].time),
            files[0].name,
            f"the same bytes as {abbreviate([file.name for file in files[1:]])}",
        )
        for files in by_digest.values()
        if len(files) > 1
    ]
    if outliers:
        advice = "one may stand under the date of another"
        yield OutlierReport(series.variable.name, tuple(outliers), advice)


def _is_distinctive(counts: PixelCounts) -> bool:
    """Return whether equal bytes are more than chance, or a quantity at rest."""
    return counts.valid >= _MIN_PX and counts.minimum < counts.maximum


def _group_by_season(series: FileSeries, files: list[ScannedFile]) -> list[list[int]]:
    """Group frames by season; those of a season with too few are compared with all."""
    times = np.array([file.time for file in files], dtype="datetime64[s]")
    numbers = Seasons.of(series.step, times).numbers(times)
    groups = [np.flatnonzero(numbers == number).tolist() for number in np.unique(numbers)]
    if min(map(len, groups)) < _MIN_FRAMES:
        return [list(range(len(files)))]
    return groups


def _compare(
    series: FileSeries,
    files: list[ScannedFile],
    groups: list[list[int]],
    statistic: FrameStatistic,
) -> list[FrameOutlier]:
    counts = [file.scan.counts for file in files if file.scan]
    values = np.array([statistic.compute(count) for count in counts])
    median = np.full(len(files), np.nan)
    is_outlier = np.zeros(len(files), dtype=bool)
    for group in groups:
        median[group], is_outlier[group] = _find_deviating(
            values[group], statistic.min_deviation
        )
    if statistic is ZEROS:
        is_outlier &= _is_local_peak(values) & np.array(
            [_is_far_from_zero(count) for count in counts]
        )
    if is_outlier.sum() > max(_MAX_OUTLIERS, _MAX_OUTLIER_FRACTION * len(files)):
        return []
    shown = np.exp if statistic in _LOGARITHMS else np.asarray
    return [
        FrameOutlier(
            series.label(files[index].time),
            files[index].name,
            statistic.format_message(float(shown(values[index])), float(shown(median[index]))),
        )
        for index in np.flatnonzero(is_outlier)
    ]


def _find_deviating(values: Float64Array, min_deviation: float) -> tuple[float, BoolArray]:
    """Return the median of values (n,), and which lie far from it (n,)."""
    if np.isnan(values).all():
        return np.nan, np.zeros(len(values), dtype=bool)
    median = float(np.nanmedian(values))
    distance = np.abs(values - median)
    deviation = _MAD_TO_SIGMA * float(np.nanmedian(distance))
    return median, distance > max(min_deviation, _MAX_DEVIATIONS * deviation)


def _is_local_peak(fractions: Float64Array) -> BoolArray:
    """Return which frames (t,) have twice what both neighbors in time have (t,)."""
    before = np.roll(fractions, 1)
    after = np.roll(fractions, -1)
    before[0] = after[0]  # the first and the last have one neighbor
    after[-1] = before[-1]
    return fractions > 2 * np.maximum(before, after)


def _is_far_from_zero(counts: PixelCounts) -> bool:
    """Return whether the other values keep away from 0: rain that ends falls off towards it."""
    n = counts.valid - counts.zeros
    has_both_signs = counts.minimum < 0 < counts.maximum
    return n > 0 and not has_both_signs and counts.min_nonzero > _NEAR_ZERO * counts.sum_abs / n
