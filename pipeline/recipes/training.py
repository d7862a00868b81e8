"""How a network is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.recipes.base import RecipePart
from pipeline.recipes.loss import LossRecipe
from pipeline.recipes.patches import PatchesRecipe


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
    patches: PatchesRecipe = PatchesRecipe()
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
