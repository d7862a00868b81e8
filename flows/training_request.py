"""One training of several: of a seed, a fold or a combination of a sweep."""

from __future__ import annotations

from dataclasses import dataclass

from flows.resolve import open_recipe
from pipeline.recipes import Recipe


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """One training of several: what a flow is given, and how a person calls it."""

    recipe: str
    overrides: tuple[str, ...]
    root: str | None
    label: str

    def open(self) -> Recipe:
        """Read and check the recipe."""
        return open_recipe(self.recipe, self.overrides, self.root)

    def per_seed(self) -> list[TrainingRequest]:
        """List the trainings of all seeds that the recipe asks for."""
        training = self.open().training
        return [self._with_seed(training.seed + run) for run in range(training.runs)]

    def _with_seed(self, seed: int) -> TrainingRequest:
        overrides = (*self.overrides, f"training.seed={seed}", "training.runs=1")
        label = f"{self.label} seed={seed}".strip()
        return TrainingRequest(self.recipe, overrides, self.root, label)
