"""What training minimizes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.recipes.base import RecipePart


class LossRecipe(RecipePart):
    """What training minimizes, on valid pixels only."""

    kind: Literal["mse", "mae", "huber"] = "mse"
    """Mean squared, mean absolute or Huber error, in normalized units."""
    delta: float = Field(1.0, gt=0)
    """Where Huber turns from squared to absolute [normalized units]."""
