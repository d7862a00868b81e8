"""Where a run computes and what it leaves behind: nothing here changes a number."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.limits import MAX_COUNT
from pipeline.recipes.base import PositiveInt, RecipePart, ShortText


class ComputeRecipe(RecipePart):
    """Workers that read patches, train together and roll tiles."""

    scheduler: ShortText | None = None
    """Address of a Dask scheduler that is asked for its workers; a local cluster by default."""
    workers: int = Field(2, ge=0, le=1024)
    """Worker processes of the local cluster; 0 computes in this process."""
    threads: int | None = Field(None, ge=1, le=1024)
    """Threads of each worker's arithmetic; cores divided by workers by default, 1 elsewhere."""
    memory_gb: float | None = Field(None, gt=0, le=1e6)
    """Memory of each worker, which itself takes 0.4 GB of it; an equal share of this machine's
    by default. Of workers elsewhere, no more than this is used [GB]."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the network runs."""
    ranks: int = Field(1, ge=1, le=1024)
    """Workers that train one network together; 1 trains in the process that was started.

    Each takes an equal part of every training.batch, which stays what it is: ranks change no
    step, no learning rate and no schedule, as the other machines of this part.
    """

    @model_validator(mode="after")
    def _every_rank_has_a_worker(self) -> Self:
        if self.scheduler is None and 1 < self.ranks > self.workers:
            raise ValueError(
                f"ranks={self.ranks} learn at the same time, each on a worker of its own, but "
                f"workers={self.workers}, so they would wait for each other; set "
                f"workers={self.ranks}, or lower ranks"
            )
        return self


class RetentionRecipe(RecipePart):
    """What `cubecast clean` leaves; what is current or referred to always stays."""

    days: float = Field(7, ge=0, le=1e6)
    """Nothing younger goes: so long, what a dead run began waits for its rerun [days]."""
    revisions: PositiveInt | None = None
    """Revisions of one init that stay, the newest first; null keeps all."""
    bundles: int | None = Field(None, ge=0, le=MAX_COUNT)
    """Bundles to which nobody refers and that stay, the newest first; null keeps all."""


class OutputsRecipe(RecipePart):
    """What is published beside the Zarr store, and what stays of it."""

    cog: bool = True
    """One Cloud-Optimized GeoTIFF per variable and time."""
    report: bool = True
    """A self-contained report.html."""
    keep: RetentionRecipe = RetentionRecipe()
    """What `cubecast clean` leaves; by default it removes nothing that was published."""
