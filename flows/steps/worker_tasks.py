"""What workers run of the steps: here, because workers import the module of what they run.

Nothing here imports Prefect, which would be a fifth of the memory of every worker.
"""

from __future__ import annotations

from pathlib import Path

from stores import cog, ingest
from stores.forecast import open_forecast
from stores.ingest import FrameReceipt
from stores.issue import FORECAST

Frame = tuple[str, str]
"""Variable and key of a frame."""


def write_frame(cube: Path, frame: Frame) -> FrameReceipt:
    """Write one frame of an ingest that was prepared."""
    return ingest.write_frame(cube, *frame)


def export_cog(stage: Path, name: str) -> str:
    """Write one COG of a staged forecast; return its name."""
    return cog.export_cog(open_forecast(stage / FORECAST), name).name
