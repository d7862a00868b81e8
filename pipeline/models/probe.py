"""Measure how far a network really looks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def probe_radius(forecast: Callable[[Tensor], Tensor], frames: Tensor) -> int:
    """Find the largest distance from which input reaches the middle pixel of the output [px].

    The gradient of the middle pixel of the last forecast frame is taken with respect to all
    input frames; where it is not zero, that input matters. In float64 with random weights a
    zero means no path, not a small number.

    Args:
        forecast: gives frames (b, ..., y, x) for input frames (b, t, c, y, x).
        frames: input with odd height and width, wider than the radius on every side.
    """
    frames = frames.detach().requires_grad_(True)
    output = forecast(frames)
    cy, cx = output.shape[-2] // 2, output.shape[-1] // 2
    last = output.reshape(-1, *output.shape[-2:])[-1]
    (gradient,) = torch.autograd.grad(last[cy, cx], frames)
    touched = gradient.abs().sum(dim=(0, 1, 2)).nonzero()  # (n, 2)
    far = (touched - torch.tensor([cy, cx])).abs().max()
    return int(far)
