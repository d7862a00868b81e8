"""Spatial splits: parts that share no pixel."""

from __future__ import annotations

import math
from typing import Self

from pydantic import Field, model_validator

from pipeline.limits import MAX_SIDE_PX
from pipeline.recipes.base import RecipePart, Seed
from pipeline.split import SpatialSplit


class SpatialSplitRecipe(RecipePart):
    """Which pixels each part gets: whole blocks or whole groups, with free pixels between."""

    block_px: int | None = Field(None, ge=1, le=MAX_SIDE_PX)
    """Side of the square blocks that are assigned to parts [px]; or name 'groups'."""
    groups: str | None = None
    """A static variable of kind classes, one number per group: countries, basins, zones."""
    correlation_px: int = Field(ge=0, le=MAX_SIDE_PX)
    """Distance over which the target is correlated; kept free between parts [px]."""
    shares: tuple[float, float, float] = (0.7, 0.15, 0.15)
    """Shares of the domain's pixels: train, validation, test; groups stay whole."""
    seed: Seed = 0
    """Seed of the assignment of pixels to parts."""

    @model_validator(mode="after")
    def _blocks_or_groups(self) -> Self:
        if (self.block_px is None) == (self.groups is None):
            raise ValueError(
                f"place has block_px={self.block_px!r} and groups={self.groups!r}, so it is "
                "not fixed what is assigned to the parts; write exactly one of both"
            )
        return self

    @model_validator(mode="after")
    def _every_part_has_a_share(self) -> Self:
        if min(self.shares) <= 0 or not math.isclose(sum(self.shares), 1.0, abs_tol=1e-6):
            raise ValueError(
                f"place.shares={list(self.shares)} are no shares of one whole (their sum is "
                f"{sum(self.shares):g}), so a part would be empty or of another size than "
                "written; let all be above 0 and their sum 1"
            )
        return self

    def check_patch_fits(self, patch_px: int) -> None:
        """Refuse blocks that hold no patch between blocks of other parts.

        Raises:
            ValueError: no patch fits.
        """
        least = patch_px + 2 * self.to_spatial_split().buffer_px
        if self.block_px is not None and self.block_px < least:
            raise ValueError(
                f"split.place.block_px={self.block_px} is narrower than training.patch_px="
                f"{patch_px} and correlation_px={self.correlation_px} together, so no patch "
                f"would fit into a block; make blocks {least} px or wider, or patches smaller"
            )

    def to_spatial_split(self) -> SpatialSplit:
        """Return the plain values that pixels are assigned by."""
        return SpatialSplit(**self.model_dump())
