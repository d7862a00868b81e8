"""What to train, in plain values: all that a training needs beside a cube."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.models import ConvLSTMSpec
from pipeline.streams.samples import RolloutSpan
from pipeline.streams.spec import FitSpec, PatchSpec
from pipeline.training.ensemble import TrainingEnsemble
from pipeline.training.schedule import Hyperparameters
from stores.times import Step


@dataclass(frozen=True, slots=True)
class ClassSpec:
    """Classes of values, and their weights in the loss."""

    thresholds: tuple[float, ...]
    """Lower bounds of all classes but the first, rising [units of the target]."""
    factors: tuple[float, ...]
    """Factor of the errors in each class: one more than there are thresholds."""


@dataclass(frozen=True, slots=True)
class LossSpec:
    """One term of the loss."""

    kind: str = "mse"
    weight: float = 1.0
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of ``losses.build_loss`` beside the kind."""
    classes: ClassSpec | None = None
    area: bool = False
    """Whether pixels are weighted by their area."""


@dataclass(frozen=True, slots=True)
class ScoreSpec:
    """Which score of the validation part decides."""

    kind: str = "loss"
    """``loss``, or ``rmse`` at one lead."""
    lead: int | None = None
    """The last one by default."""
    units: str = "physical"
    """Of the rmse: ``physical`` or ``normalized``."""


@dataclass(frozen=True, slots=True)
class TrackSpec:
    """Services that collect the curves, and what is sent there."""

    services: tuple[str, ...] = ()
    name: str = ""
    """Of the trainings that belong together."""
    root: Path = Path()
    """Where services keep what is not sent to a server."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What is shown beside the curves."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a training comes from, for its bundle; nothing here is computed with."""

    recipe: Mapping[str, Any] = field(default_factory=dict)
    """The whole recipe, but folders and machines."""
    split: Mapping[str, Any] = field(default_factory=dict)
    """The split as it was written, with offsets where dates stand in the recipe."""


@dataclass(frozen=True, slots=True)
class TrainingSpec:
    """One training: what it learns from, what it learns, and how."""

    name: str
    """Of its bundles."""
    fingerprint: str
    """Equal ones are the same training, which resumes from its checkpoint."""
    step: Step
    """Distance between two frames."""
    fit: FitSpec
    network: ConvLSTMSpec
    patches: PatchSpec
    hyperparameters: Hyperparameters
    losses: tuple[LossSpec, ...] = (LossSpec(),)
    """Terms of the loss, added by weight."""
    ensemble: TrainingEnsemble | None = None
    """Members that every sample is rolled out in; None for one forecast."""
    score: ScoreSpec = ScoreSpec()
    batch: int = 4
    """Patches that are computed together."""
    seed: int = 0
    """Of every random choice."""
    precision: str = "auto"
    device: str = "auto"
    ranks: int = 1
    checkpoint_minutes: float = 5.0
    """Minutes of work that a crash may cost; 0 saves after every step."""
    track: TrackSpec = TrackSpec()
    origin: Origin = Origin()

    @property
    def span(self) -> RolloutSpan:
        """Frames of a sample: the history, and all leads that are ever rolled out."""
        return RolloutSpan(self.network.history, self.hyperparameters.curriculum.leads)

    @property
    def n_members(self) -> int:
        """Forecasts of every sample."""
        return self.ensemble.n if self.ensemble else 1
