"""Which network forecasts, and how it is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from pipeline.recipes.base import RecipePart


class ModelRecipe(RecipePart):
    """A stack of ConvLSTM cells with a convolutional head."""

    family: Literal["convlstm"] = "convlstm"
    """Which network."""
    hidden: tuple[PositiveInt, ...] = Field((32, 64), min_length=1, max_length=8)
    """Hidden channels of each ConvLSTM layer."""
    kernel: Literal[1, 3, 5, 7] = 3
    """Side of the gates' kernels [px]."""
    head: tuple[PositiveInt, ...] = (32,)
    """Channels of each 3 x 3 layer between the last cell and the output."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of hidden maps dropped before the head while training."""
    norm: Literal["none", "batch"] = "batch"
    """Normalization in the head; batch statistics are frozen at inference."""
    residual: Literal["none", "persistence"] = "none"
    """Where training starts: a forecast of zero, or of the last frame."""


class LossRecipe(RecipePart):
    """What training minimizes, on valid pixels only."""

    kind: Literal["mse", "mae", "huber"] = "mse"
    """Mean squared, mean absolute or Huber error, in normalized units."""
    delta: float = Field(1.0, gt=0)
    """Where Huber turns from squared to absolute [normalized units]."""


class TrainingRecipe(RecipePart):
    """How the weights are found."""

    epochs: int = Field(50, ge=1)
    """Passes over the training patches at most."""
    batch: int = Field(4, ge=1)
    """Patches per step."""
    patch_px: int = Field(64, ge=4)
    """Side of a patch; patches are clipped to the grid [px]."""
    min_valid: float = Field(0.05, ge=0, le=1)
    """Patches with a smaller share of valid target pixels are left out."""
    patches_per_epoch: int | None = Field(None, ge=1)
    """Patches drawn per epoch; all by default."""
    loss: LossRecipe = LossRecipe()
    lr: float = Field(1e-3, gt=0)
    """Largest learning rate."""
    weight_decay: float = Field(1e-2, ge=0)
    """Decoupled weight decay of AdamW."""
    warmup_steps: int = Field(50, ge=0)
    """Steps over which the rate rises from zero."""
    schedule: Literal["cosine", "plateau", "constant"] = "cosine"
    """How the rate falls afterwards."""
    clip: float = Field(1.0, ge=0)
    """Largest norm of the gradient; 0 leaves it as it is."""
    precision: Literal["auto", "32", "bf16", "16"] = "auto"
    """auto takes bf16 on a device that has it, else 32."""
    patience: int = Field(10, ge=1)
    """Epochs without a better validation loss before training stops."""
    leads: int = Field(1, ge=1)
    """Leads rolled out in the loss; 1 is single-step training."""
    teacher_start: float = Field(0.0, ge=0, le=1)
    """Chance in the first epoch that a rolled-out frame is replaced by the truth."""
    teacher_end: float = Field(0.0, ge=0, le=1)
    """The same chance in the last epoch; it changes linearly."""
    seed: int = Field(0, ge=0)
    """Seed of every random choice."""


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
