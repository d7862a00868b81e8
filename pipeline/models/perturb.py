"""Perturbed histories: what makes forecasts of one network from one init differ."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.models.counter_rng import Origin, RandomKey, normal_fields


def perturb_history(
    history: Tensor,
    valid: Tensor,
    keys: Sequence[Sequence[RandomKey]],
    origins: Sequence[Origin],
    *,
    noise: float,
    noise_px: int = 1,
) -> Tensor:
    """Add noise to the first frames of a history (b, t, y, x), where it is valid.

    A pixel's noise follows from its key and its position on the grid alone, so members are the
    same in any tile, batch and rank. It is drawn frame by frame: all of them at once would
    take their memory many times over.

    Args:
        history: target before the leads (b, t, y, x).
        valid: where it is usable (b, t, y, x).
        keys: what the noise of each of the first frames is drawn for, by frame and window.
        origins: first row and column of each window on the whole grid (b,) [px].
        noise: standard deviation [normalized units].
        noise_px: distance over which it is correlated [px].
    """
    shape = (history.shape[-2], history.shape[-1])
    device = history.device
    frames = list(history.unbind(dim=1))  # each (b, y, x)
    for index, frame_keys in enumerate(keys):
        field = normal_fields(
            frame_keys, origins, shape, correlation_px=noise_px, device=device
        )
        frames[index] = frames[index] + noise * (field * valid[:, index])
    return torch.stack(frames, dim=1)  # (b, t, y, x)
