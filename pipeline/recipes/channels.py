"""What the model sees beside the target, and what is known about the future."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from pipeline.limits import MAX_STEPS
from pipeline.recipes.base import RecipePart

TransformName = Literal["trend", "log1p", "sqrt", "anomaly", "zscore", "minmax"]
Future = Literal["known", "climatology", "persist"]
AnnualFuture = Literal["known", "persist"]


def _check_transforms(transforms: tuple[TransformName, ...]) -> tuple[TransformName, ...]:
    if len(set(transforms)) < len(transforms):
        raise ValueError(
            f"transform={list(transforms)} names a transform twice, so it could not be "
            "undone; name each once"
        )
    if "trend" in transforms[1:]:
        raise ValueError(
            f"transform={list(transforms)} takes a trend away from what is no longer in units, "
            "so its slope would mean nothing; put 'trend' first"
        )
    return transforms


TransformNames = Annotated[tuple[TransformName, ...], AfterValidator(_check_transforms)]


class TargetRecipe(RecipePart):
    """The variable that is forecast, and the space in which the model works."""

    variable: str
    """A variable of the archive with a file per step."""
    transform: TransformNames = ("zscore",)
    """Applied in order; statistics come from the training part only.

    trend takes away one straight line in time, which goes on beyond the training part: for what
    rises for ever. anomaly takes the climatology away.
    """
    harmonics: int | None = Field(None, ge=1, le=6)
    """Harmonics kept in the climatology of 'anomaly'; all seasons apart by default."""
    minimum: float | None = None
    """Physical lower bound of what is published [units]."""
    maximum: float | None = None
    """Physical upper bound of what is published [units]."""

    @model_validator(mode="after")
    def _there_is_room_between_the_bounds(self) -> Self:
        low = self.minimum
        high = self.maximum
        if low is not None and high is not None and low >= high:
            raise ValueError(
                f"minimum={low:g} is not below maximum={high:g}, so one value would be "
                "published everywhere; exchange them, or leave one out"
            )
        return self


class StaticCovariate(RecipePart):
    """A map that does not change."""

    kind: Literal["static"] = "static"
    variable: str
    """A variable of the archive without a date."""


class AnnualCovariate(RecipePart):
    """A map per year, such as land cover or population."""

    kind: Literal["annual"] = "annual"
    variable: str
    """A variable of the archive with a file per year."""
    future: AnnualFuture = "persist"
    """What stands for years that are not known on the day of issue."""
    delay: int = Field(0, ge=0, le=MAX_STEPS)
    """Years after which a map becomes available."""


class StepCovariate(RecipePart):
    """A map per step, such as vegetation or another model's output."""

    kind: Literal["step"] = "step"
    variable: str
    """A variable of the archive with a file per step."""
    future: Future
    """What stands for steps that are not known on the day of issue."""
    delay: int = Field(0, ge=0, le=MAX_STEPS)
    """Steps after which a map becomes available."""
    transform: TransformNames = ("zscore",)
    """Applied in order; statistics come from the training part only.

    trend takes away one straight line in time, which goes on beyond the training part: for what
    rises for ever. anomaly takes the climatology away.
    """

    @model_validator(mode="after")
    def _climatology_needs_anomalies(self) -> Self:
        if self.future == "climatology" and "anomaly" not in self.transform:
            raise ValueError(
                f"covariate {self.variable!r} has future='climatology' but transform="
                f"{list(self.transform)}, so its climatology is not known; put 'anomaly' "
                "first, as in [anomaly, zscore]"
            )
        return self


class DerivedCovariate(RecipePart):
    """What follows from place and date alone."""

    kind: Literal["derived"] = "derived"
    of: Literal["season", "lonlat"]
    """season: sine and cosine of the time of year; lonlat: two channels from -1 to 1."""


CovariateRecipe = Annotated[
    StaticCovariate | AnnualCovariate | StepCovariate | DerivedCovariate,
    Field(discriminator="kind"),
]


class DomainRecipe(RecipePart):
    """Where a forecast is wanted."""

    variable: str | None = None
    """A static variable of the archive; the target's own valid pixels by default."""
    above: float = 0.5
    """Pixels with a larger value belong to the domain [units of the variable]."""
