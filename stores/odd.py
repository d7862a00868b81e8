"""What is told of frames that can be read but can hardly be meant."""

from __future__ import annotations

from dataclasses import dataclass

from stores.formatting import pluralize

LEAST_FRAMES = 8
"""Fewer say little of what is usual."""
_MAX_OUTLIER_FRACTION, _MAX_OUTLIERS = 1 / 6, 2  # of a series can be odd
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class FrameOutlier:
    """What is odd of one frame."""

    date: str
    file: str
    text: str = ""

    def __str__(self) -> str:
        said = f": {self.text}" if self.text else ""
        return f"{self.date} ({self.file}){said}"


@dataclass(frozen=True, slots=True)
class OutlierReport:
    """What is odd of some frames of a variable, and what it may mean."""

    variable: str
    outliers: tuple[FrameOutlier, ...]
    advice: str
    what: str = "unlike the others of their season"

    def __str__(self) -> str:
        each = "; ".join(map(str, self.outliers[:_SHOWN]))
        rest = len(self.outliers) - _SHOWN
        more = f" and {rest} more" if rest > 0 else ""
        frames = pluralize(len(self.outliers), "frame")
        return (
            f"{self.variable}: {frames} {self.what}: {each}{more}, "
            f"so {self.advice}; compare the files with their source"
        )


def are_few(n: int, n_frames: int) -> bool:
    """Return whether so many frames can be odd; of more it is usual."""
    return n <= max(_MAX_OUTLIERS, _MAX_OUTLIER_FRACTION * n_frames)
