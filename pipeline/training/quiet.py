"""Keep Lightning's advertisements and false alarms out of the log."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_FALSE_ALARMS = (
    "`isinstance\\(treespec, LeafSpec\\)`",  # Lightning's own use of a torch internal
    "Your `IterableDataset` has `__len__` defined",  # we use no worker processes of torch
    "The .* does not have many workers",  # the workers are Dask's
    "Checkpoint directory .* exists",  # a rerun replaces its own checkpoints
    "Experiment logs directory .* exists",
)
_LOGGERS = ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "lightning.fabric")


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence what is known to mean nothing here, and nothing else."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message in _FALSE_ALARMS:
            warnings.filterwarnings("ignore", message=message)
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
