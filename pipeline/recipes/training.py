"""How a network is trained."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.limits import MAX_COUNT, MAX_SIDE_PX
from pipeline.recipes.base import PositiveInt, RecipePart, Seed, StepCount
from pipeline.recipes.loss import CRPSLoss, Losses, LossRecipe, PointLoss, QuantileLoss
from pipeline.recipes.patches import PatchesRecipe


class ScoreRecipe(RecipePart):
    """Which number of the validation part decides: the best epoch, and when to stop."""

    kind: Literal["loss", "rmse"] = "loss"
    """The loss, or the root mean squared error at one lead."""
    lead: StepCount | None = None
    """Lead of the rmse; training.leads by default."""
    units: Literal["physical", "normalized"] = "physical"
    """Units of the rmse: those of the target, or those in which the network works."""

    @model_validator(mode="after")
    def _only_an_rmse_has_a_lead(self) -> Self:
        if self.kind == "loss" and self.lead is not None:
            raise ValueError(
                f"score.lead={self.lead} is given but kind='loss' covers all leads, so it "
                "would have no effect; write kind: rmse or leave lead out"
            )
        return self


class TrainingRecipe(RecipePart):
    """How the weights are found."""

    epochs: PositiveInt = 50
    """Passes over the training patches at most."""
    batch: PositiveInt = 4
    """Patches that are computed together."""
    accumulate: PositiveInt = 1
    """Batches whose gradients are averaged into one step: larger steps in the same memory."""
    patch_px: int = Field(64, ge=4, le=MAX_SIDE_PX)
    """Side of a patch; patches are clipped to the grid [px]."""
    min_valid: float = Field(0.05, ge=0, le=1)
    """Patches with a smaller share of valid target pixels are left out."""
    patches_per_epoch: int | None = Field(None, ge=1, le=1000 * MAX_COUNT)
    """Patches drawn per epoch; all by default."""
    patches: PatchesRecipe = PatchesRecipe()
    loss: Losses = PointLoss()
    """What training minimizes: one loss, or a list of losses that are added by weight."""
    lr: float = Field(1e-3, gt=0)
    """Largest learning rate."""
    weight_decay: float = Field(1e-2, ge=0)
    """Decoupled weight decay of AdamW."""
    warmup_steps: int = Field(50, ge=0, le=1000 * MAX_COUNT)
    """Steps over which the rate rises from zero."""
    schedule: Literal["cosine", "plateau", "constant"] = "cosine"
    """How the rate falls afterwards."""
    clip: float = Field(1.0, ge=0)
    """Largest norm of the gradient; 0 leaves it as it is."""
    precision: Literal["auto", "32", "bf16", "16"] = "auto"
    """auto takes bf16 on a device that has it, else 32."""
    ema: float = Field(0.0, ge=0, lt=1)
    """Decay of the running average of the weights, which is validated and kept; 0 is none."""
    patience: PositiveInt = 10
    """Epochs without a better score before training stops."""
    score: ScoreRecipe = ScoreRecipe()
    """What is better: by default a lower validation loss."""
    leads: StepCount = 1
    """Leads rolled out in the loss; 1 is single-step training."""
    leads_start: StepCount | None = None
    """Leads in the first epoch, where training begins with fewer; training.leads by default."""
    leads_every: PositiveInt = 1
    """Epochs after which one lead is added, up to training.leads."""
    teacher_start: float = Field(0.0, ge=0, le=1)
    """Probability in the first epoch that a rolled-out frame is replaced by the truth."""
    teacher_end: float = Field(0.0, ge=0, le=1)
    """The same probability in the last epoch."""
    teacher_decay: Literal["linear", "inverse-sigmoid"] = "linear"
    """How the probability goes from the first to the last epoch."""
    noise: float = Field(0.0, ge=0)
    """Deviation of noise added to the target's history while training [normalized units]."""
    seed: Seed = 0
    """Seed of every random choice."""
    runs: int = Field(1, ge=1, le=1000)
    """Trainings with seed, seed + 1, and so on; the best of them becomes the current bundle."""
    track: tuple[Literal["wandb", "mlflow"], ...] = ()
    """Services that collect the curves, beside curves.csv and TensorBoard; local by default."""
    checkpoint_minutes: float = Field(5.0, ge=0, le=1e6)
    """Minutes of work that a crash may cost; 0 saves after every step."""

    @property
    def fingerprint_exclude(self) -> set[str]:
        """List the keys that change no number of one training."""
        return {"runs", "track", "checkpoint_minutes"}

    @property
    def losses(self) -> tuple[LossRecipe, ...]:
        """All terms of the loss."""
        return self.loss if isinstance(self.loss, tuple) else (self.loss,)

    @property
    def quantiles(self) -> tuple[float, ...]:
        """Quantiles that the network gives; none where it gives one value."""
        quantiles = (term.quantiles for term in self.losses if isinstance(term, QuantileLoss))
        return next(quantiles, ())

    @property
    def members(self) -> int:
        """Forecasts of every sample while training."""
        members = (term.members for term in self.losses if isinstance(term, CRPSLoss))
        return next(members, 1)

    @model_validator(mode="after")
    def _one_loss_scores_the_spread(self) -> Self:
        kinds = [t.kind for t in self.losses if isinstance(t, QuantileLoss | CRPSLoss)]
        if len(kinds) > 1:
            raise ValueError(
                f"loss holds {' and '.join(kinds)}, but a network gives quantiles of one kind "
                "or members of an ensemble, so one of them would have nothing to score; keep "
                "one, and add mse, mae, huber, ssim or laplacian at will"
            )
        return self

    @model_validator(mode="after")
    def _leads_grow(self) -> Self:
        if self.leads_start is not None and self.leads_start > self.leads:
            raise ValueError(
                f"leads_start={self.leads_start} is more than leads={self.leads}, so rollouts "
                "would shrink; lower leads_start or raise leads"
            )
        return self

    @model_validator(mode="after")
    def _the_score_is_of_a_lead_that_is_rolled_out(self) -> Self:
        if self.score.lead is not None and self.score.lead > self.leads:
            raise ValueError(
                f"score.lead={self.score.lead} is more than leads={self.leads}, so it is never "
                "forecast while training; lower score.lead or raise leads"
            )
        return self

    @model_validator(mode="after")
    def _windows_of_a_loss_fit_into_a_patch(self) -> Self:
        for term in self.losses:
            if term.min_patch_px > self.patch_px:
                raise ValueError(
                    f"loss {term.kind!r} looks at {term.min_patch_px} px at once but patch_px="
                    f"{self.patch_px}, so no patch would count; raise patch_px, or shrink the "
                    "loss's window_px or levels"
                )
        return self
