"""How a forecast is rolled out."""

from __future__ import annotations

from pydantic import Field

from pipeline.recipes.base import RecipePart


class RolloutRecipe(RecipePart):
    """How far back a forecast looks, and how far ahead it reaches."""

    history: int = Field(ge=1)
    """Frames that the model reads [steps]."""
    leads: int = Field(ge=1)
    """Frames that are forecast [steps]."""
    tile_px: int | None = Field(None, ge=1)
    """Side of the square that a tile owns; planned from the memory by default [px]."""
    block_leads: int | None = Field(None, ge=1)
    """Leads that a tile rolls out before it looks at its neighbors; planned by default."""
    batch: int = Field(1, ge=1)
    """Tiles computed together."""
