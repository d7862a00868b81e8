"""What a rollout costs per pixel: operations, bytes read, and memory."""

from __future__ import annotations

from itertools import pairwise

from pipeline.models import ConvLSTMShape

_FLOAT = 4  # bytes
_HEAD_TAPS = 9


def flops_per_px(network: ConvLSTMShape) -> int:
    """Count the operations of one lead at one pixel; multiply and add are two."""
    taps = network.kernel**2
    widths = [network.channels, *network.hidden]
    gates = sum((wide + hidden) * 4 * hidden * taps for wide, hidden in pairwise(widths))
    heads = [network.hidden[-1], *network.head]
    head = sum(wide * narrow * _HEAD_TAPS for wide, narrow in pairwise(heads)) + heads[-1]
    return 2 * (network.history * gates + head)


def read_bytes_per_px(network: ConvLSTMShape, *, leads: int) -> int:
    """Bound what a block of ``leads`` reads at one pixel: every channel of every frame [B]."""
    return _FLOAT * network.channels * (network.history + leads - 1)


def rollout_bytes(n_px: int, network: ConvLSTMShape, *, leads: int) -> int:
    """Bound the memory of a block of ``leads`` over ``n_px`` pixels [B].

    Counted are float32 values per pixel: the inputs of all frames, what the first layer keeps
    of every frame from lead to lead, and in the widest layer the convolved inputs and hidden
    maps of all frames with the working copies of one step.
    """
    history, widest = network.history, max(network.hidden)
    inputs = 2 * (history + leads) * network.channels
    encoded = history * 4 * network.hidden[0]
    layer = history * (network.channels + 6 * widest) + 12 * widest
    return _FLOAT * n_px * (inputs + encoded + layer + 3 * leads)
