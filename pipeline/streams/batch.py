"""The arrays of several samples, as workers send them to the trainer.

Three ways lead to a batch, bit for bit the same. They share which frames a sample reads
(``samples.RolloutSpan``, ``forcing_policy.resolve_forcing``) and the order of channels
(``ChannelSpec``), not the copying, because each copies from something else:

- ``loader.read_batch_directly`` reads every sample from the cube: what the others
  are tested against.
- ``batch_reader.BatchReader`` copies slices out of slabs that are decoded when a sample first
  needs them.
- ``device_reader.DeviceBatchReader`` gathers from whole frames on the device that trains, by
  index: there one call for a batch costs less than a slice for each of its samples.

A rollout reads its tiles from the cube too: each is read once, so nothing is worth keeping.
"""

from __future__ import annotations

from typing import NamedTuple

from stores.array_types import BoolArray, Float32Array


class Batch(NamedTuple):
    """Arrays of several samples, normalized; invalid values are 0, and ``valid`` says where."""

    target: Float32Array
    """History, then truth of the leads (b, t + leads, y, x)."""
    valid: BoolArray
    """Where the target is valid (b, t + leads, y, x)."""
    forcings: Float32Array
    """Covariates of the ``forcing_times`` (b, n, f, y, x)."""
    statics: Float32Array
    """Covariates without a date (b, s, y, x)."""
    domain: BoolArray
    """Where forecasts are made (b, y, x)."""

    def row(self, index: int) -> Batch:
        """View the arrays of one sample, each without its batch axis."""
        return Batch(*(array[index] for array in self))
