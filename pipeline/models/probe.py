"""Measure how far a network really looks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def probe_radius(
    forecast: Callable[[Tensor], Tensor], frames: Tensor, *, stride: int = 1
) -> int:
    """Find the largest distance from which input reaches a pixel of the output [px].

    The gradient of a pixel of the last forecast frame is taken with respect to all input
    frames; where it is not zero, that input matters. In float64 with random weights a zero
    means no path, not a small number. A strided network looks differently at each phase of its
    stride, so a pixel of every phase is probed, on the diagonal, and the farthest counts. Give
    several samples where a ReLU may close a path in one of them.

    Args:
        forecast: computes frames (b, ..., y, x) for input frames (b, ..., y, x).
        frames: input, wider than the radius on every side of the middle ``stride`` pixels.
        stride: total stride of the network.

    Raises:
        ValueError: a pixel depends on no input in any sample.
    """
    inputs = frames.detach().requires_grad_(True)
    output = forecast(inputs)
    last = output.reshape(len(output), -1, *output.shape[-2:])[:, -1].sum(dim=0)  # (y, x)
    cy, cx = (side // 2 // stride * stride for side in last.shape)
    return max(_farthest(last, inputs, (cy + phase, cx + phase)) for phase in range(stride))


def _farthest(last: Tensor, frames: Tensor, pixel: tuple[int, int]) -> int:
    """Find how far from an output pixel the farthest input that matters lies."""
    (gradient,) = torch.autograd.grad(last[pixel], frames, retain_graph=True)
    touched = gradient.abs().flatten(0, -3).sum(dim=0).nonzero()  # (n, 2)
    if not len(touched):
        raise ValueError(
            f"output pixel {pixel} depends on no input, so its reach cannot be seen; give more "
            "samples or other random weights"
        )
    return int((touched - torch.tensor(pixel)).abs().max())
