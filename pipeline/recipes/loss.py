"""What training minimizes: one loss, or a weighted sum of several."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from pipeline.recipes.base import RecipePart


class LossTerm(RecipePart):
    """What every loss has: a share in the sum."""

    weight: float = Field(1.0, gt=0)
    """Factor of this loss in the sum."""

    @property
    def min_patch_px(self) -> int:
        """Side of the smallest patch on which the loss is defined [px]."""
        return 1


class ClassesRecipe(RecipePart):
    """Which values count more."""

    thresholds: tuple[float, ...] = Field(min_length=1)
    """Lower bounds of all classes but the first, rising [units of the target]."""
    factors: tuple[Annotated[float, Field(ge=0)], ...] = Field(min_length=2)
    """Factor of the errors in each class: one more than there are thresholds."""

    @model_validator(mode="after")
    def _every_class_has_a_factor(self) -> Self:
        if len(self.factors) != len(self.thresholds) + 1:
            raise ValueError(
                f"thresholds={list(self.thresholds)} make {len(self.thresholds) + 1} classes "
                f"but factors={list(self.factors)} weigh {len(self.factors)}, so some class "
                "would have no factor; give one for the values below the first threshold too"
            )
        return self

    @model_validator(mode="after")
    def _thresholds_rise(self) -> Self:
        if list(self.thresholds) != sorted(set(self.thresholds)):
            raise ValueError(
                f"thresholds={list(self.thresholds)} do not rise, so classes would overlap; "
                "sort them"
            )
        return self


class PixelLoss(LossTerm):
    """Mean over valid pixels, each by itself."""

    area: bool = False
    """Weighs pixels by their area on a grid of degrees, the cosine of the latitude."""


class PointLoss(PixelLoss):
    """Mean of the errors of valid pixels."""

    kind: Literal["mse", "mae", "huber"] = "mse"
    """Mean squared, mean absolute or Huber error, in normalized units."""
    delta: float = Field(1.0, gt=0)
    """Where Huber turns from squared to absolute [normalized units]."""
    classes: ClassesRecipe | None = None
    """Weighs errors by the class of the observed value; all alike by default."""


class SSIMLoss(LossTerm):
    """One minus the structural similarity, over windows without an invalid pixel."""

    kind: Literal["ssim"]
    data_range: float = Field(gt=0)
    """Largest minus smallest value that the target takes [normalized units]."""
    window_px: int = Field(11, ge=3, le=33)
    """Side of the Gaussian window, odd [px]."""

    @model_validator(mode="after")
    def _a_window_has_a_center(self) -> Self:
        if self.window_px % 2 == 0:
            raise ValueError(
                f"window_px={self.window_px} is even, so the window has no middle pixel; "
                f"take {self.window_px - 1} or {self.window_px + 1}"
            )
        return self

    @property
    def min_patch_px(self) -> int:
        """Side of one window [px]."""
        return self.window_px


class LaplacianLoss(LossTerm):
    """Absolute errors of details, from pixel to pixel up to coarse ones."""

    kind: Literal["laplacian"]
    levels: int = Field(3, ge=1, le=8)
    """Halvings of the resolution."""

    @property
    def min_patch_px(self) -> int:
        """Side of a pixel of the coarsest level [px]."""
        return int(2**self.levels)


class QuantileLoss(PixelLoss):
    """Pinball loss of several quantiles: the network gives one output for each.

    The median is the forecast: what is fed back, what other losses see, and what is scored.
    There are no classes: weights that follow the observed value would move the quantiles.
    """

    kind: Literal["quantile"]
    quantiles: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(min_length=2)
    """Quantiles, rising, with 0.5 among them."""

    @model_validator(mode="after")
    def _quantiles_rise(self) -> Self:
        if list(self.quantiles) != sorted(set(self.quantiles)):
            raise ValueError(
                f"quantiles={list(self.quantiles)} do not rise, so outputs would have no order "
                "that keeps them from crossing; sort them, each once"
            )
        return self

    @model_validator(mode="after")
    def _the_median_is_one_of_them(self) -> Self:
        if 0.5 not in self.quantiles:
            raise ValueError(
                f"quantiles={list(self.quantiles)} lack 0.5, but the median is what is fed "
                "back and published as the forecast; add 0.5"
            )
        return self


class CRPSLoss(PixelLoss):
    """Continuous ranked probability score of an ensemble, with dropout or noise in each member.

    The mean of the members is the forecast: what other losses see, and what is scored. There
    are no classes: weights that follow the observed value would reward wrong spreads.
    """

    kind: Literal["crps"]
    members: int = Field(4, ge=2, le=64)
    """Forecasts of every sample while training; memory and time grow with them."""


def _kind_of(written: Any) -> str:
    known = isinstance(written, dict)
    kind = written.get("kind", "mse") if known else getattr(written, "kind", None)
    return "point" if kind in ("mse", "mae", "huber") else str(kind)


LossRecipe = Annotated[
    Annotated[PointLoss, Tag("point")]
    | Annotated[SSIMLoss, Tag("ssim")]
    | Annotated[LaplacianLoss, Tag("laplacian")]
    | Annotated[QuantileLoss, Tag("quantile")]
    | Annotated[CRPSLoss, Tag("crps")],
    Discriminator(
        _kind_of,
        custom_error_type="unknown_loss",
        custom_error_message="kind is none of mse, mae, huber, ssim, laplacian, quantile, crps",
    ),
]


def _one_or_several(written: Any) -> str:
    return "several" if isinstance(written, list | tuple) else "one"


Losses = Annotated[
    Annotated[LossRecipe, Tag("one")]
    | Annotated[Annotated[tuple[LossRecipe, ...], Field(min_length=1)], Tag("several")],
    Discriminator(_one_or_several),
]
