"""What scores and margins follow from, so that a forecast is shown with its own alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pipeline.metrics import format_leads
from pipeline.models import StepSpec
from pipeline.rollout.request import ForecastRequest, HindcastSpec
from stores.bundle import read_bundle
from stores.digests import digest_json
from stores.files import read_json

LEADS = "rollout.leads"
_MADE_WITH = "made_with"
_VERSION = "cube_version"
_DIGITS = 12


@dataclass(frozen=True, slots=True)
class ScoreKey:
    """What scores, or margins, of one part follow from: equal keys give equal numbers.

    The version of the cube is no part of it: a cube grows by frames that no scored forecast
    reads. It is written beside, and a page says where it is another one.
    """

    settings: Mapping[str, Any]
    """Plain values by their names in the recipe."""

    @classmethod
    def of(cls, spec: HindcastSpec, request: ForecastRequest) -> Self:
        """Build the key of what decides the numbers: models, rollout, limits and frames."""
        bundles = [read_bundle(path) for path in request.bundles]
        history = StepSpec(**bundles[0].description["reading"]).history
        rollout = {**spec.rollout, "leads": request.leads, "history": history}
        if request.members.n == 1:
            rollout.pop("perturb", None)  # a single forecast is not perturbed
        frames = spec.split.label(spec.part, spec.step)
        target = {"minimum": request.minimum, "maximum": request.maximum}
        return cls(
            {"bundles": [bundle.digest for bundle in bundles], f"split.{spec.part}": frames}
            | {f"target.{name}": value for name, value in target.items()}
            | {f"rollout.{name}": value for name, value in rollout.items()}
        )

    @property
    def name(self) -> str:
        """Name of the folder of everything that was made with these settings."""
        return digest_json(dict(self.settings))[:_DIGITS]

    def with_leads(self, leads: int) -> Self:
        """Return the same key with another number of leads."""
        return type(self)({**self.settings, LEADS: leads})

    def differences(self, other: ScoreKey) -> list[str]:
        """List the settings in which another key differs, with its value and the one here."""
        names = dict.fromkeys([*self.settings, *other.settings])
        return [
            f"{name}={_show(other.settings.get(name))} (here {_show(self.settings.get(name))})"
            for name in names
            if self.settings.get(name) != other.settings.get(name)
        ]

    def to_json(self, cube_version: str) -> dict[str, Any]:
        """Write the settings and the version of the cube as plain JSON."""
        return {_MADE_WITH: dict(self.settings), _VERSION: cube_version}

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> tuple[Self, str]:
        """Read what ``to_json`` wrote: the key, and the version of the cube."""
        return cls(written[_MADE_WITH]), str(written[_VERSION])


def list_score_files(scores: Path, file: str) -> Iterator[tuple[ScoreKey, Path]]:
    """List the files of one name below the scores of a bundle, each with its key."""
    for path in sorted(scores.glob(f"*/{file}")):
        yield ScoreKey.from_json(read_json(path))[0], path


def nearest_difference(scores: Path, file: str, key: ScoreKey) -> list[str]:
    """List in what the nearest of other files differs from ``key``; [] where there is none."""
    differences = (key.differences(other) for other, _ in list_score_files(scores, file))
    return min(differences, key=len, default=[])


def list_unproven(scores: Path, file: str, key: ScoreKey, trained: int) -> str:
    """Describe which leads were neither scored nor, without scores, rolled out in training.

    Args:
        scores: folder of the scores of a bundle.
        file: name of those of the part that counts.
        key: of the forecast that is to be made.
        trained: leads that training rolled out.
    """
    leads = key.settings[LEADS]
    comparable = (
        other for other, _ in list_score_files(scores, file) if other.with_leads(leads) == key
    )
    scored = max((other.settings[LEADS] for other in comparable), default=0)
    known = scored or trained
    if leads <= known:
        return ""
    how = "were scored" if scored else "training rolled out, and none was scored"
    return (
        f"{format_leads(range(known + 1, leads + 1))}: beyond the {known} that {how}, so "
        "nobody knows how good the forecast is there; run: cubecast evaluate RECIPE, with the "
        "settings of this forecast"
    )


def _show(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(str(item)[:_DIGITS] for item in value)}]"
    return str(value)
