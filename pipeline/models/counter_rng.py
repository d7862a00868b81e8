"""Counter-based random numbers: the same for every tile, batch, worker and device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Origin = tuple[int, int]
"""First row and column of a window, counted on the whole grid."""
Device = torch.device | str | None

_WORD = 2**64 - 1
_GAMMA = 0x9E3779B97F4A7C15
_ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST_SHIFT = 31
# What numbers are for: no two uses share theirs.
_UNIFORM = 1
_NORMAL = 2
_DROP = 3


class RandomKey(NamedTuple):
    """What random numbers are drawn for; any other key gives independent ones."""

    seed: int
    member: int
    lead: int
    channel: int = 0
    """Which map, where one lead of one member needs several."""


def uniform(
    key: RandomKey, origin: Origin, shape: tuple[int, int], *, device: Device = None
) -> Tensor:
    """Draw numbers in (0, 1) for one window (y, x), float32.

    Zero and one never occur. All bits are equal on every device.
    """
    bits = _hash(_stream_starts([key], (_UNIFORM,)), [origin], shape, device)[0]  # (y, x)
    return _to_uniform(bits)


def normal(
    key: RandomKey,
    origin: Origin,
    shape: tuple[int, int],
    *,
    correlation_px: int = 0,
    device: Device = None,
) -> Tensor:
    """Draw Gaussian noise of mean 0 and variance 1 for one window (y, x), float32.

    See ``normal_fields`` for what the noise looks like.
    """
    return normal_fields([key], [origin], shape, correlation_px=correlation_px, device=device)[
        0
    ]


def normal_fields(
    keys: Sequence[RandomKey],
    origins: Sequence[Origin],
    shape: tuple[int, int],
    *,
    correlation_px: int = 0,
    device: Device = None,
) -> Tensor:
    """Draw Gaussian noise of mean 0 and variance 1 for a batch of windows (b, y, x), float32.

    A pixel's number depends on its key and its position on the whole grid alone, so windows cut
    from anywhere agree bit for bit. Correlated noise is white noise on every
    ``correlation_px``-th row and column, blended by cubic B-splines whose squared weights are
    made to sum to 1 at every pixel: no halo is needed. Along a row or column the correlation
    is 0.5 at a distance of ``correlation_px``, 0.05 at twice that and 0 from four times on.

    Source: Steele, Lea and Flood (2014), Fast splittable pseudorandom number generators, with
    the constants of SplitMix64: row r starts at output r of the key's sequence, and pixel
    (r, c) is output c of its row's. Splines between hashed nodes are lattice value noise
    (Peachey, in Ebert et al. 2002, Texturing and Modeling), there without constant variance.

    Args:
        keys: what each window is drawn for (b,).
        origins: first row and column of each window on the whole grid (b,) [px].
        shape: rows and columns of every window [px].
        correlation_px: distance at which the correlation is a half [px]; white up to 1.
        device: where the numbers are drawn.

    Raises:
        ValueError: there is not one key for each window, or the distance is negative.
    """
    _check(keys, origins, correlation_px)
    if correlation_px <= 1:
        return _to_normal(_hash(_stream_starts(keys, (_NORMAL, 0)), origins, shape, device))
    px = correlation_px
    node_origins = [(row // px - 1, col // px - 1) for row, col in origins]
    n_nodes = ((shape[0] + px - 2) // px + 4, (shape[1] + px - 2) // px + 4)
    streams = _stream_starts(keys, (_NORMAL, px))
    nodes = _to_normal(_hash(streams, node_origins, n_nodes, device))  # (b, ny, nx)
    phases = [(row % px, col % px) for row, col in origins]
    tall = _blend(nodes, [row for row, _ in phases], shape[0], px)  # (b, y, nx)
    wide = _blend(tall.transpose(1, 2), [col for _, col in phases], shape[1], px)  # (b, x, y)
    return wide.transpose(1, 2).contiguous()  # (b, y, x)


def dropout_mask(
    p: float, keys: Sequence[RandomKey], channels: int, *, device: Device = None
) -> Tensor:
    """Choose which whole maps a dropout keeps, as factors (b, c, 1, 1), float32.

    A map is dropped (0) with probability ``p`` or else scaled by 1 / (1 - p), as
    ``nn.Dropout2d`` does; but the choice depends on the key alone, so all tiles of a member
    make the same one.

    Source: Gal and Ghahramani (2016), Dropout as a Bayesian approximation. Theirs drops single
    units; whole maps go here, as in training.

    Raises:
        ValueError: ``p`` is no probability below 1.
    """
    if not 0 <= p < 1:
        raise ValueError(
            f"p={p} is no chance of dropping a map, so nothing or everything would be lost; "
            "choose one from 0 to below 1"
        )
    bits = _hash(_stream_starts(keys, (_DROP,)), [(0, 0)] * len(keys), (1, channels), device)
    kept = _to_uniform(bits)[:, 0, :, None, None] >= p  # (b, c, 1, 1)
    return kept / (1 - p)


def _check(keys: Sequence[RandomKey], origins: Sequence[Origin], correlation_px: int) -> None:
    if len(keys) != len(origins):
        raise ValueError(
            f"{len(keys)} keys are given for {len(origins)} windows, so noise would go to the "
            "wrong member; give one key for each window"
        )
    if correlation_px < 0:
        raise ValueError(
            f"correlation_px={correlation_px} is no distance, so no noise can be made; choose "
            "0 for white noise, or more"
        )


def _stream_starts(keys: Sequence[RandomKey], use: tuple[int, ...]) -> Tensor:
    """Compute where the sequence of every key starts (b,), another for each use."""
    return torch.tensor([_signed(_hash_words((*key, *use))) for key in keys], dtype=torch.int64)


def _hash_words(words: tuple[int, ...]) -> int:
    """Mix words into one; each step is one to one, so neighbors never meet by design."""
    state = 0
    for word in words:
        state = ((state ^ (word & _WORD)) + _GAMMA) & _WORD
        for shift, factor in _ROUNDS:
            state = (state ^ (state >> shift)) * factor & _WORD
        state ^= state >> _LAST_SHIFT
    return state


def _hash(
    streams: Tensor, origins: Sequence[Origin], shape: tuple[int, int], device: Device
) -> Tensor:
    """Draw 64 random bits for every pixel of every window (b, y, x), int64."""
    first = torch.tensor(origins, dtype=torch.int64).reshape(-1, 2).to(device)
    rows, cols = (
        (first[:, axis, None] + torch.arange(1, shape[axis] + 1, device=device))
        * _signed(_GAMMA)
        for axis in (0, 1)
    )
    starts = _mix(streams.to(device)[:, None] + rows)  # (b, y)
    return _mix(starts[:, :, None] + cols[:, None, :])  # (b, y, x)


def _mix(state: Tensor) -> Tensor:
    """Finish SplitMix64; products wrap around, as they do for unsigned words."""
    mixed = state
    for shift, factor in _ROUNDS:
        mixed = _xorshift(mixed, shift) * _signed(factor)
    return _xorshift(mixed, _LAST_SHIFT)


def _xorshift(bits: Tensor, n: int) -> Tensor:
    return bits ^ _shift(bits, n)


def _shift(bits: Tensor, n: int) -> Tensor:
    """Shift right and fill with zeros; torch fills with the sign."""
    return (bits >> n) & ((1 << (64 - n)) - 1)


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word


def _to_uniform(bits: Tensor) -> Tensor:
    """Take 23 bits, and the middle of their interval: exact in float32, never 0 or 1."""
    return (_shift(bits, 41).to(torch.float32) + 0.5) * 2.0**-23


def _to_normal(bits: Tensor) -> Tensor:
    """Invert the normal distribution; in float64, or its tails would end at 5.3 sigma."""
    probability = (_shift(bits, 12).to(torch.float64) + 0.5) * 2.0**-52
    gauss: Tensor = torch.special.ndtri(probability)
    return gauss.to(torch.float32)


def _blend(nodes: Tensor, phases: list[int], n: int, px: int) -> Tensor:
    """Blend the four nodes about each of ``n`` pixels along axis 1 of (b, nodes, any).

    Products and sums are separate steps in a fixed order: a matrix product would sum in an
    order that depends on the size of the window.
    """
    phase = torch.tensor(phases, device=nodes.device)[:, None]
    position = phase + torch.arange(n, device=nodes.device)  # (b, n), from the second node on
    weights = _spline_weights(px).to(nodes.device)[position % px]  # (b, n, 4)
    blended = torch.zeros(1, device=nodes.device)
    for tap in range(4):
        index = (position // px + tap)[:, :, None].expand(-1, -1, nodes.shape[2])
        blended = blended + nodes.gather(1, index) * weights[:, :, tap, None]  # (b, n, any)
    return blended


def _spline_weights(px: int) -> Tensor:
    """Compute the weights of the nodes about each position between two of them (px, 4)."""
    t = torch.arange(px, dtype=torch.float64) / px
    u = 1 - t
    inner = 4 - 6 * t * t + 3 * t * t * t
    outer = 4 - 6 * u * u + 3 * u * u * u
    weights = torch.stack([u * u * u, inner, outer, t * t * t], dim=1) / 6
    return (weights / weights.square().sum(dim=1, keepdim=True).sqrt()).to(torch.float32)
