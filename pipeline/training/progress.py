"""Progress of a training."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class TrainingProgress:
    """How far a training is."""

    epoch: int = 0
    """Epochs that are finished."""
    batch: int = 0
    """Batches of this epoch that are done."""
    step: int = 0
    """Steps of the optimizer so far."""
    loss: float = 0.0
    """Sum of the losses of this epoch; each batch counts by its samples."""
    n_samples: int = 0
    """Samples of this epoch that are done."""
    rate: float = 0.0
    """Learning rate with which this epoch began."""

    def __str__(self) -> str:
        """Return the last epoch and batch that are done, counted from 1, as text."""
        if not self.batch:
            return f"epoch {self.epoch}"
        return f"epoch {self.epoch + 1}, batch {self.batch}"
