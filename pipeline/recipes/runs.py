"""Where a run computes and what it leaves behind: nothing here changes a number."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.recipes.base import RecipePart


class ComputeRecipe(RecipePart):
    """Workers that read patches and roll tiles."""

    scheduler: str | None = None
    """Address of a Dask scheduler; a local cluster by default."""
    workers: int = Field(2, ge=0, le=1024)
    """Worker processes of the local cluster; 0 computes in this process."""
    threads: int | None = Field(None, ge=1)
    """Threads of each worker's arithmetic; cores divided by workers by default."""
    memory_gb: float | None = Field(None, gt=0)
    """Memory of each worker; an equal share of this machine's by default [GB]."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the network runs."""


class OutputsRecipe(RecipePart):
    """What is published beside the Zarr store."""

    cog: bool = True
    """One Cloud-Optimized GeoTIFF per variable and time."""
    report: bool = True
    """A self-contained report.html."""
