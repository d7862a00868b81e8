"""Refuse networks whose tiles could not equal the untiled forecast."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd

_CIRCULAR = (nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d)
_GLOBAL = (_AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd)


def check_tile_exact(network: nn.Module) -> None:
    """Refuse a network in which a pixel depends on all others, or on its place in the tile.

    Layers are judged by what they are; what a network calls as a function inside its
    ``forward`` is not seen here, but by the gradient probe (``models.probe``).

    Raises:
        ValueError: a layer couples far pixels; it is named.
    """
    for path, layer in network.named_modules():
        why = next((why for rule in _RULES if (why := rule(layer))), None)
        if why is not None:
            raise ValueError(
                f"layer {path or 'network'!r} ({type(layer).__name__}) {why}, so tiles would "
                "disagree with the untiled forecast; use BatchNorm with running statistics at "
                "inference, half-pixel upsampling by powers of two and convolutions instead, "
                "or choose the approximate rollout.mode: blend"
            )


def _check_normalization(layer: nn.Module) -> str | None:
    if isinstance(layer, nn.GroupNorm):
        return "normalizes by the mean over the tile"
    # Over the last axis alone it normalizes the channels of one pixel; over more, the map.
    if isinstance(layer, nn.LayerNorm | nn.RMSNorm) and len(layer.normalized_shape) > 1:
        return f"normalizes by the mean over maps of shape {tuple(layer.normalized_shape)}"
    if isinstance(layer, _NormBase) and (layer.training or not layer.track_running_stats):
        mode = "in training mode" if layer.training else "without running statistics"
        return f"normalizes by the mean over the tile ({mode})"
    return None


def _check_coupling(layer: nn.Module) -> str | None:
    if isinstance(layer, nn.MultiheadAttention) or "attention" in type(layer).__name__.lower():
        return "lets every pixel of the tile see every other"
    if isinstance(layer, _GLOBAL):
        return "pools over the whole tile"
    wraps = isinstance(layer, _ConvNd) and layer.padding_mode == "circular"
    if wraps or isinstance(layer, _CIRCULAR):
        return "joins opposite borders of the tile"
    return None


def _check_upsampling(layer: nn.Module) -> str | None:
    if not isinstance(layer, nn.Upsample):
        return None
    if layer.align_corners:
        return "is aligned to the corners of the tile (align_corners=True)"
    if layer.scale_factor is None:
        return f"stretches every tile to size={layer.size}"
    factors = layer.scale_factor
    each = factors if isinstance(factors, tuple) else (factors,)
    if not all(_is_power_of_two(factor) for factor in each):
        return f"has weights that round differently at every place (scale_factor={factors})"
    return None


def _is_power_of_two(factor: float) -> bool:
    return factor >= 1 and float(factor).is_integer() and int(factor).bit_count() == 1


_RULES: tuple[Callable[[nn.Module], str | None], ...] = (
    _check_normalization,
    _check_coupling,
    _check_upsampling,
)
