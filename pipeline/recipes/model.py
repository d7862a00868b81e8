"""Which network forecasts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.recipes.base import RecipePart

_Channels = Annotated[int, Field(ge=1, le=4096)]


class ModelRecipe(RecipePart):
    """A stack of ConvLSTM cells with a convolutional head."""

    family: Literal["convlstm"] = "convlstm"
    """Which network."""
    hidden: tuple[_Channels, ...] = Field((32, 64), min_length=1, max_length=8)
    """Hidden channels of each ConvLSTM layer."""
    kernel: Literal[1, 3, 5, 7] = 3
    """Side of the gates' kernels [px]."""
    head: tuple[_Channels, ...] = Field((32,), max_length=8)
    """Channels of each 3 x 3 layer between the last cell and the output."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of hidden maps dropped before the head while training."""
    norm: Literal["none", "batch", "group"] = "batch"
    """Normalization in the head; batch is frozen at inference, group is not exact in tiles."""
    residual: Literal["none", "persistence"] = "none"
    """Where training starts: a forecast of zero, or of the last frame."""
    memory: Literal["window", "carried"] = "window"
    """Whether every lead reads the history again, or goes on from what earlier ones remember.

    ``carried`` costs history + leads steps of the cells instead of history x leads. Train it
    with training.leads above 1, or it never sees the memory it is to go on from.
    """
