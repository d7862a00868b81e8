"""What a rollout costs per pixel: operations, bytes read, and memory."""

from __future__ import annotations

from itertools import pairwise

from pipeline.models import ConvLSTMSpec
from pipeline.streams.fields import FIELD_CACHE_BYTES

_FLOAT_BYTES = 4
_HEAD_TAPS = 9
_WORKSPACE_PERCENT = 110  # with what libraries hold beside arrays; measured
_SCORED_FRAMES = 24  # float32 maps of one lead; measured


def flops_per_px(network: ConvLSTMSpec) -> int:
    """Count the operations of one lead at one pixel; multiply and add are two."""
    return network.history * _step_flops(network) + _head_flops(network)


def rollout_flops_per_px(network: ConvLSTMSpec, leads: int, block_leads: int) -> int:
    """Count the operations of ``leads`` at one pixel, rolled out in blocks.

    A window is read again for every lead: H T steps. A memory that is carried reads the history
    once, and goes on from block to block: H + T - 1 steps.
    """
    if network.memory == "carried":
        steps = network.history + leads - 1
        return steps * _step_flops(network) + leads * _head_flops(network)
    return leads * flops_per_px(network)


def read_bytes_per_px(network: ConvLSTMSpec, *, leads: int) -> int:
    """Bound what a block of ``leads`` reads at one pixel: every channel of every frame [B]."""
    return _FLOAT_BYTES * network.channels * (network.history + leads - 1)


def rollout_bytes(n_px: int, network: ConvLSTMSpec, *, leads: int, members: int = 1) -> int:
    """Bound the memory of a block of ``leads`` over ``n_px`` pixels [B].

    Counted are float32 values per pixel: the inputs of all frames, what the first layer keeps
    of every frame from lead to lead, and in the widest layer the convolved inputs and hidden
    maps of all frames with the working copies of one step. Members are computed one after the
    other; of each, the frames of all quantiles and the memory stay until they are written.
    """
    history = network.history
    widest = max(network.hidden)
    inputs = 2 * (history + leads) * network.channels
    encoded = history * 4 * network.hidden[0]
    layer = history * (network.channels + 6 * widest) + 12 * widest
    carried = 2 * sum(network.hidden) if network.memory == "carried" else 0
    outputs = members * (3 * leads * network.n_outputs + carried)
    values_per_px = inputs + encoded + layer + outputs
    return _FLOAT_BYTES * n_px * values_per_px * _WORKSPACE_PERCENT // 100


def cached_fields_bytes(n_px: int, n_fields: int, n_tiles: int) -> int:
    """Bound the maps of a model that a process keeps for its next tiles [B].

    Args:
        n_px: pixels of the windows of one tile.
        n_fields: climatologies, beside the domain.
        n_tiles: tiles that one process may compute.
    """
    tile_bytes = n_px * (_FLOAT_BYTES * n_fields + 1)
    return max(tile_bytes, min(FIELD_CACHE_BYTES, n_tiles * tile_bytes))


def score_bytes(n_px: int, leads: int, *, members: int) -> int:
    """Bound the memory of scoring ``leads`` over ``n_px`` pixels [B].

    The truth, three baselines and the products, and sums in double precision.
    """
    return n_px * leads * (_SCORED_FRAMES + 3 * members) * _FLOAT_BYTES


def _step_flops(network: ConvLSTMSpec) -> int:
    taps = network.kernel**2
    widths = [network.channels, *network.hidden]
    return 2 * sum((inputs + hidden) * 4 * hidden * taps for inputs, hidden in pairwise(widths))


def _head_flops(network: ConvLSTMSpec) -> int:
    heads = [network.hidden[-1], *network.head]
    convolved = sum(inputs * outputs * _HEAD_TAPS for inputs, outputs in pairwise(heads))
    return 2 * (convolved + heads[-1] * network.n_outputs)
