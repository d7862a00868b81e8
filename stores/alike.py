"""Frames of the same bytes, frames of one value, and frames whose values meet no others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial

from stores.geotiff import PixelCounts
from stores.odd import FrameOutlier, OutlierReport, are_few
from stores.series import FileSeries, ScannedFile

_MIN_PX = 64  # fewer can be alike by chance
_MUCH_DRY = 0.5  # of a frame is 0: then all of another may be
_COUNTED = list[tuple[ScannedFile, PixelCounts]]


def find_copies(series: FileSeries) -> Iterator[OutlierReport]:
    """Find dates whose files hold the same bytes; some quantities rest, and many are alike."""
    alike: dict[str, list[ScannedFile]] = defaultdict(list)
    for file, counts in _list_counts(series):
        if not _is_constant(counts):
            alike[file.digest].append(file)
    groups = [files for files in alike.values() if len(files) > 1]
    if not are_few(sum(map(len, groups)), len(series.files)):
        return
    advice = "one may stand under the date of another"
    for files in groups:
        found = tuple(FrameOutlier(series.label(file.time), file.name) for file in files)
        yield OutlierReport(series.variable.name, found, advice, "of the same bytes")


def find_constant(series: FileSeries) -> Iterator[OutlierReport]:
    """Find frames of one value: a few among others, or all of the series."""
    counted = _list_counts(series)
    if series.variable.is_classes or series.cadence == "static" or len(counted) < 2:
        return
    flat = [(file, counts) for file, counts in counted if _is_constant(counts)]
    found = _describe(series, flat, lambda counts: f"all valid pixels are {counts.minimum:g}")
    name, values = series.variable.name, {counts.minimum for _, counts in flat}
    if len(flat) == len(counted) and len(values) == 1:
        yield OutlierReport(name, found, "nothing can be learned from them", "of one value")
        return
    others = [counts for _, counts in counted if not _is_constant(counts)]
    driest = max((counts.zeros / counts.valid for counts in others), default=1.0)
    is_at_rest = 0 in values and driest > _MUCH_DRY
    if flat and not is_at_rest and are_few(len(flat), len(counted)):
        yield OutlierReport(name, found, "their values may be lost")


def find_shifted(series: FileSeries) -> Iterator[OutlierReport]:
    """Find a few frames that lie beyond all others, by more than these lie apart.

    All of a frame moves when its units have another zero (273.15 K). Whole ranges are
    compared, since seasons move the mean of a frame by as much as it varies.
    """
    counted = sorted(_list_counts(series), key=lambda one: one[1].minimum)
    if series.variable.is_classes:
        return
    most = sum(are_few(n, len(counted)) for n in range(1, len(counted)))
    for n in range(1, most + 1):
        for odd, rest in ((counted[-n:], counted[:-n]), (counted[:n], counted[n:])):
            low, high = _range(rest)
            odd_low, odd_high = _range(odd)
            if max(odd_low - high, low - odd_high) > high - low > 0:
                found = _describe(series, odd, partial(_say_range, f"{low:.4g} to {high:.4g}"))
                advice = "they may have other units, with another zero"
                yield OutlierReport(series.variable.name, found, advice)
                return


def _say_range(usual: str, counts: PixelCounts) -> str:
    own = f"{counts.minimum:.4g} to {counts.maximum:.4g}"
    return f"values lie from {own}, and others from {usual}"


def _list_counts(series: FileSeries) -> _COUNTED:
    """List the frames that hold enough pixels to tell, with what was counted of them."""
    counted = [(file, file.scan.counts) for file in series.files if file.scan]
    return [(file, counts) for file, counts in counted if counts.valid >= _MIN_PX]


def _is_constant(counts: PixelCounts) -> bool:
    return counts.minimum == counts.maximum


def _range(counted: _COUNTED) -> tuple[float, float]:
    """Return the least and the largest value of some frames."""
    lows, highs = zip(*((c.minimum, c.maximum) for _, c in counted), strict=True)
    return min(lows), max(highs)


def _describe(
    series: FileSeries, counted: _COUNTED, words: Callable[[PixelCounts], str]
) -> tuple[FrameOutlier, ...]:
    """Describe some frames by the same text, in the order of their dates."""
    told = [FrameOutlier(series.label(f.time), f.name, words(counts)) for f, counts in counted]
    return tuple(sorted(told, key=lambda odd: odd.date))
