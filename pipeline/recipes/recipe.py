"""The recipe: one validated request, from archive to published forecast."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import field_validator, model_validator

from pipeline.recipes.archive import ArchiveRecipe, GridRecipe, VariableRecipe
from pipeline.recipes.base import RecipePart, ShortText, digest_recipe
from pipeline.recipes.channels import (
    CovariateRecipe,
    DerivedCovariate,
    DomainRecipe,
    StaticCovariate,
    TargetRecipe,
)
from pipeline.recipes.metadata import MetadataRecipe
from pipeline.recipes.model import ModelRecipe
from pipeline.recipes.operations import ComputeRecipe, OutputsRecipe
from pipeline.recipes.rollout import RolloutRecipe
from pipeline.recipes.schedule import ScheduleRecipe
from pipeline.recipes.split import SplitRecipe
from pipeline.recipes.training import TrainingRecipe
from pipeline.split import FITTED_PARTS
from stores.names import check_id
from stores.times import Step, Times

# What changes no number: folders and machines; training and rollout say it themselves.
_FINGERPRINT_EXCLUDE = dict.fromkeys(
    ("root", "compute", "outputs", "title", "metadata", "schedule"), True
)


class Recipe(RecipePart):
    """Everything a forecast needs to know, and nothing about machines."""

    name: str
    """Name of bundles and deployments: letters, digits, '-'."""
    title: ShortText = ""
    """One line for reports and the catalog."""
    root: Path
    """Folder of cube, models, issues and catalog; relative to the recipe."""
    archive: ArchiveRecipe
    grid: GridRecipe
    target: TargetRecipe
    covariates: tuple[CovariateRecipe, ...] = ()
    """What the model sees beside the target, in the order of its channels."""
    domain: DomainRecipe = DomainRecipe()
    split: SplitRecipe
    model: ModelRecipe = ModelRecipe()
    training: TrainingRecipe = TrainingRecipe()
    rollout: RolloutRecipe
    outputs: OutputsRecipe = OutputsRecipe()
    metadata: MetadataRecipe = MetadataRecipe()
    compute: ComputeRecipe = ComputeRecipe()
    schedule: ScheduleRecipe = ScheduleRecipe()

    @field_validator("name")
    @classmethod
    def _name_is_plain(cls, name: str) -> str:
        return check_id(name, "name")

    @model_validator(mode="after")
    def _target_has_a_file_per_step(self) -> Self:
        if not self._variable(self.target.variable, "target").has_time:
            raise ValueError(
                f"target {self.target.variable!r} has no date in its files pattern "
                f"{self.target_variable.files!r}, so there is no series to forecast; "
                "write {time:%Y.%m} where the date stands"
            )
        return self

    @model_validator(mode="after")
    def _covariates_are_what_their_kind_says(self) -> Self:
        for covariate in self.covariates:
            if isinstance(covariate, DerivedCovariate):
                continue
            variable = self._variable(covariate.variable, "covariate")
            if variable.has_time == isinstance(covariate, StaticCovariate):
                dated = "has" if variable.has_time else "has no"
                raise ValueError(
                    f"covariate {covariate.variable!r} is of kind {covariate.kind!r}, but its "
                    f"files pattern {variable.files!r} {dated} a date; "
                    "static covariates have none, annual and step covariates have one"
                )
        return self

    @model_validator(mode="after")
    def _no_covariate_is_made_of_classes(self) -> Self:
        for covariate in self.covariates:
            name = None if isinstance(covariate, DerivedCovariate) else covariate.variable
            if name and self.archive.variables[name].kind == "classes":
                raise ValueError(
                    f"covariate {name!r} holds classes, whose codes are no quantities, so a "
                    "network would compute with names; give the share of each class as a "
                    "raster of its own"
                )
        return self

    @model_validator(mode="after")
    def _domain_is_static(self) -> Self:
        name = self.domain.variable
        if name is not None and self._variable(name, "domain").has_time:
            raise ValueError(
                f"domain.variable={name!r} changes with time, so the domain would; "
                "name a variable without a date"
            )
        return self

    @model_validator(mode="after")
    def _parts_share_no_frame(self) -> Self:
        if self.split.is_resolved:
            self.split.to_split().check_leaks(self.step)
        return self

    @model_validator(mode="after")
    def _every_part_holds_a_sample(self) -> Self:
        for part in self.split.parts if self.split.is_resolved else ():
            have = max(map(len, self._segments(part)), default=0)
            need = self.rollout.history + (
                self.training.leads if part in FITTED_PARTS else self.rollout.leads
            )
            if have < need:
                fewer = ", or lower split.folds" if self.split.folds else ""
                raise ValueError(
                    f"split.{part} holds {have} frames, but a sample needs {need} (history="
                    f"{self.rollout.history} and its leads), so the part would be empty; "
                    f"lengthen the part or shorten rollout.history{fewer}"
                )
        return self

    @model_validator(mode="after")
    def _blocks_have_room_for_a_patch(self) -> Self:
        if self.split.place is not None:
            self.split.place.check_patch_fits(self.training.patch_px)
        return self

    @model_validator(mode="after")
    def _groups_are_static_classes(self) -> Self:
        name = self.split.place and self.split.place.groups
        if not name:
            return self
        variable = self._variable(name, "split.place.groups")
        if variable.has_time or variable.kind != "classes":
            what = "changes with time" if variable.has_time else f"is of kind {variable.kind!r}"
            raise ValueError(
                f"split.place.groups={name!r} {what}, so its numbers do not name one group for "
                "each pixel; name a variable without a date and of kind: classes"
            )
        return self

    @model_validator(mode="after")
    def _members_differ(self) -> Self:
        rollout = self.rollout
        perturb = rollout.perturb
        n_models = 1 + len(rollout.bundles)
        drops = perturb.dropout and self.model.dropout > 0
        if rollout.members > n_models and not drops and not perturb.noise:
            raise ValueError(
                f"rollout.members={rollout.members} but neither dropout (perturb.dropout="
                f"{perturb.dropout}, model.dropout={self.model.dropout}) nor noise "
                f"(perturb.noise=0) makes members of one model differ, so they would be equal; "
                "set rollout.perturb.noise, or train with model.dropout"
            )
        return self

    @model_validator(mode="after")
    def _members_of_a_training_differ(self) -> Self:
        members = self.training.members
        if members > 1 and not self.model.dropout and not self.training.noise:
            raise ValueError(
                f"loss 'crps' scores members={members} forecasts of a sample, but neither "
                "model.dropout=0 nor training.noise=0 makes them differ, so there is no spread "
                "to learn; set model.dropout, or training.noise"
            )
        return self

    @model_validator(mode="after")
    def _quantiles_are_of_one_forecast(self) -> Self:
        if self.training.quantiles and self.rollout.members > 1:
            raise ValueError(
                f"rollout.members={self.rollout.members} with loss 'quantile' would each give "
                "their own, which no statistic joins; set rollout.members=1 and no "
                "rollout.bundles, or train with loss crps for an ensemble"
            )
        return self

    @model_validator(mode="after")
    def _tiles_can_be_exact(self) -> Self:
        if self.model.norm == "group" and self.rollout.mode == "exact":
            raise ValueError(
                "model.norm='group' normalizes by the mean over the tile, so tiles would "
                "disagree with the untiled forecast; choose model.norm=batch or none, or the "
                "approximate rollout.mode=blend"
            )
        return self

    @model_validator(mode="after")
    def _every_rank_has_a_sample(self) -> Self:
        batch = self.training.batch
        ranks = self.compute.ranks
        if batch < ranks:
            raise ValueError(
                f"training.batch={batch} is shared by compute.ranks={ranks}, so some would "
                "have nothing to learn from; raise training.batch or lower compute.ranks"
            )
        return self

    @model_validator(mode="after")
    def _training_rolls_no_further_than_the_forecast(self) -> Self:
        if self.training.leads > self.rollout.leads:
            raise ValueError(
                f"training.leads={self.training.leads} is more than rollout.leads="
                f"{self.rollout.leads}, so leads would be learned that nobody forecasts; "
                "lower training.leads"
            )
        return self

    def _segments(self, part: str) -> list[Times]:
        try:
            return self.split.to_split().segments(part, self.step)
        except ValueError as error:
            raise ValueError(f"split.{part}: {error}") from None

    def _variable(self, name: str, what: str) -> VariableRecipe:
        if name not in self.archive.variables:
            known = ", ".join(self.archive.variables)
            raise ValueError(
                f"{what} names the variable {name!r}, which archive.variables does not have; "
                f"it has {known}"
            )
        return self.archive.variables[name]

    @property
    def step(self) -> Step:
        """Distance between two frames."""
        return Step.parse(self.archive.step)

    @property
    def target_variable(self) -> VariableRecipe:
        """Units, names and files of the target."""
        return self.archive.variables[self.target.variable]

    def fingerprint(self) -> str:
        """Hash what can change a number; folders and machines cannot.

        Ends of the split count as they are written: dates that move on with the cube stand in
        its version, and in the bundle.
        """
        archive = self.archive.replace(root=Path())
        science = self.model_copy(update={"archive": archive, "split": self.split.unresolved})
        parts = {
            "training": self.training.fingerprint_exclude,
            "rollout": self.rollout.fingerprint_exclude,
        }
        return digest_recipe(science, exclude=_FINGERPRINT_EXCLUDE | parts)
