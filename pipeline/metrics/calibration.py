"""What was learned about the errors of a model, small enough to travel with its forecasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from pipeline.metrics.intervals import ConformityHistogram
from stores.digests import digest_json
from stores.formatting import pluralize

_CHOOSES = "validation"


@dataclass(frozen=True, slots=True)
class Calibration:
    """Margins that adjust the forecasts of one model to intervals of one level."""

    level: float
    """Fraction of truths that the intervals are made to hold."""
    margins: tuple[float, ...]
    """How far both ends move outward at each lead; inward below 0 [normalized units]."""
    n: tuple[int, ...]
    """Truths that were scored at each lead [pixels]."""
    part: str
    """Part of the split that was scored; no other part was used."""
    inits: tuple[str, ...]
    """Labels of the hindcasts that were scored."""

    @classmethod
    def of(
        cls, scores: ConformityHistogram, level: float, *, part: str, inits: Sequence[str]
    ) -> Self:
        """Compute the margins of what was scored.

        Raises:
            TooFewError: a lead has too few scores for this level.
        """
        margins = tuple(scores.margins(level).tolist())
        return cls(float(level), margins, tuple(scores.n.tolist()), part, tuple(inits))

    @property
    def describe_source(self) -> str:
        """Describe what the margins were learned from, and what else that part decided."""
        other = "also chose the epoch" if self.part == _CHOOSES else "nothing else uses"
        ends = " to ".join(dict.fromkeys(self.inits[:1] + self.inits[-1:]))
        dates = f" (from {ends})" if ends else ""
        forecasts = pluralize(len(self.inits), "forecast")
        return f"{forecasts} of the {self.part} part{dates}, which {other}"

    @property
    def digest(self) -> str:
        """Hash the canonical JSON; equal digests mean equal intervals from the same scores."""
        return digest_json(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Write as plain JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` wrote.

        Raises:
            ValueError: margins and counts are not of the same leads.
        """
        margins = tuple(map(float, written["margins"]))
        n = tuple(map(int, written["n"]))
        if len(margins) != len(n):
            raise ValueError(
                f"the calibration has {len(margins)} margins but counts of {len(n)} leads, so "
                "it was altered; calibrate the model again"
            )
        inits = tuple(map(str, written["inits"]))
        return cls(float(written["level"]), margins, n, str(written["part"]), inits)
