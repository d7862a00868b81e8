"""Tell whoever watches how far a training is."""

from __future__ import annotations

from collections.abc import Callable

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

Tell = Callable[[float, float, str], None]
"""Called with what is done, what is to be done, and a note."""


class TellProgress(Callback):
    """Count batches, and note the validation loss of the last epoch."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._note = ""

    def on_train_batch_end(
        self, trainer: L.Trainer, task: L.LightningModule, *_: object
    ) -> None:
        """Say how many epochs are done, in parts."""
        batches = max(1.0, float(trainer.num_training_batches))
        done = trainer.current_epoch + min(1.0, (trainer.fit_loop.batch_idx + 1) / batches)
        self._tell(round(done, 2), trainer.max_epochs or 1, self._note)

    def on_validation_epoch_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Keep the loss for the note."""
        loss = trainer.callback_metrics.get("validation_loss", torch.nan)
        self._note = f"validation loss {float(loss):.4g}"
