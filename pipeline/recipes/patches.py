"""Which patches an epoch takes, and in which order."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.limits import MAX_SIDE_PX
from pipeline.recipes.base import PositiveInt, RecipePart


class PatchesRecipe(RecipePart):
    """How the patches of an epoch are drawn; equal seeds draw equal patches."""

    draw: Literal["uniform", "quantiles", "changes"] = "uniform"
    """uniform: each at most once; quantiles: rare means of the target as often as usual ones;
    changes: more where the target changes from frame to frame."""
    jitter_px: int = Field(0, ge=0, le=MAX_SIDE_PX)
    """Farthest random move of a patch along one axis, a new one in every epoch [px]."""
    buffer: PositiveInt = 4096
    """Patches that are shuffled together when an epoch has more; read block by block then."""
