"""How a forecast is rolled out."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.limits import MAX_SIDE_PX, MAX_STEPS
from pipeline.recipes.base import PositiveInt, RecipePart, Seed, ShortText, StepCount

_TILING_KEYS = ("tile_px", "block_leads", "batch")


class PerturbRecipe(RecipePart):
    """What makes the members of an ensemble differ."""

    dropout: bool = True
    """Keep the dropout of training, with other maps dropped for every member and lead."""
    noise: float = Field(0.0, ge=0)
    """Standard deviation of noise on the observed frames [normalized units]."""
    noise_px: int = Field(1, ge=1, le=MAX_SIDE_PX)
    """Distance at which the noise's correlation is a half; 1 is white [px]."""
    seed: Seed = 0
    """Seed of all members."""


class RolloutRecipe(RecipePart):
    """How far back a forecast looks, and how far ahead it reaches."""

    history: StepCount
    """Frames that the model reads [steps]."""
    leads: StepCount
    """Frames that are forecast [steps]."""
    members: int = Field(1, ge=1, le=MAX_STEPS)
    """Forecasts of an ensemble; mean, standard deviation and quantiles are published."""
    perturb: PerturbRecipe = PerturbRecipe()
    """What makes members differ, beside further bundles."""
    bundles: tuple[ShortText, ...] = ()
    """Folders of further bundles of the same kind; members are assigned to all in turn."""
    interval: float | None = Field(0.8, gt=0, lt=1)
    """Coverage of the intervals that are published once the model is evaluated; null: none."""
    precision: Literal["32", "bf16"] = "32"
    """Arithmetic of the network; the issue says how far bf16 is from 32."""
    mode: Literal["exact", "blend"] = "exact"
    """exact equals the untiled forecast; blend is approximate, for models that cannot."""
    taper: Literal["hann", "linear"] = "hann"
    """How the weight of a blended tile falls towards its border."""
    taper_px: int | None = Field(None, ge=1, le=MAX_SIDE_PX)
    """What a blended tile reads beyond what it owns; a quarter of tile_px by default [px]."""
    tile_px: int | None = Field(None, ge=1, le=MAX_SIDE_PX)
    """Side of the square that a tile owns; planned from the memory by default [px]."""
    block_leads: StepCount | None = None
    """Leads that a tile rolls out before it looks at its neighbors; planned by default."""
    batch: PositiveInt = 1
    """Tiles computed together."""

    @property
    def fingerprint_exclude(self) -> set[str]:
        """List the keys that change no number: how an exact rollout is cut."""
        return set() if self.mode == "blend" else {*_TILING_KEYS, "taper", "taper_px"}

    @model_validator(mode="after")
    def _blended_tiles_are_stated(self) -> Self:
        if self.mode == "blend" and self.tile_px is None:
            raise ValueError(
                "mode='blend' without tile_px, but a blended forecast depends on its tiles, so "
                "every machine would publish another one; set rollout.tile_px, e.g. 256"
            )
        return self

    @model_validator(mode="after")
    def _bundles_have_members(self) -> Self:
        if len(self.bundles) >= self.members:
            raise ValueError(
                f"bundles names {len(self.bundles)} models beside the first, but there are "
                f"{self.members} members, so some would not be used; set rollout.members to "
                f"{len(self.bundles) + 1} or more"
            )
        return self
