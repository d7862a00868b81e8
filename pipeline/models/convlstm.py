"""Stacked ConvLSTM cells with a convolutional head."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.models.cells import ConvLSTMCell
from pipeline.models.dropout import MemberDropout
from pipeline.models.look import Look
from pipeline.models.reach import Reach, measure_reach
from pipeline.models.reading import Reading

_HEAD_KERNEL = 3
_GROUPS = 8  # at most


@dataclass(frozen=True, slots=True)
class ConvLSTMShape:
    """Sizes of a ConvLSTM: what is needed to build it again, beside the weights."""

    channels: int
    history: int
    hidden: Sequence[int] = (32, 64)
    kernel: int = 3
    head: Sequence[int] = (32,)
    dropout: float = 0.2
    norm: str = "batch"
    residual: str = "none"
    memory: str = "window"


class ConvLSTM(nn.Module):
    """Forecast the next frame of the target from a window of frames.

    The last hidden map of the top cell passes dropout, 3 x 3 convolutions and a 1 x 1 output.
    The output starts at zero, so an untrained network forecasts the mean of its space (with
    ``anomaly``: the climatology), or the last frame with ``residual='persistence'``.

    Source: the layout of the XCO2 system in docs, whose output was not zero-started. Batch
    normalization keeps running statistics at inference and so does not couple pixels.
    """

    def __init__(self, shape: ConvLSTMShape) -> None:
        super().__init__()
        self.shape = shape
        widths = [shape.channels, *shape.hidden]
        self.cells = nn.ModuleList(
            ConvLSTMCell(wide, hidden, kernel=shape.kernel)
            for wide, hidden in zip(widths, shape.hidden, strict=False)
        )
        self.head = _build_head(shape)

    def forward(self, frames: Tensor) -> Tensor:
        """Forecast one frame (b, y, x) from frames (b, t, c, y, x); channel 0 is the target."""
        return self.decide(self.encode(frames), frames[:, -1, 0])

    def encode(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Do what looks at each frame alone: convolve the inputs of the first layer."""
        return self._cell(0).drive(frames)

    def decide(self, encoded: Sequence[Tensor], last: Tensor) -> Tensor:
        """Forecast one frame from encoded ones, and from the last target (b, y, x)."""
        hidden = self._cell(0).recur(encoded)
        for layer in range(1, len(self.cells)):
            hidden = self._cell(layer).recur(
                self._cell(layer).drive(torch.stack(hidden, dim=1))
            )
        change: Tensor = self.head(hidden[-1])[:, 0]  # (b, y, x)
        return last + change if self.shape.residual == "persistence" else change

    def _cell(self, layer: int) -> ConvLSTMCell:
        cell = self.cells[layer]
        assert isinstance(cell, ConvLSTMCell)
        return cell

    @property
    def reading(self) -> Reading:
        """Which frames one call reads and gives."""
        return Reading(self.shape.history)

    @property
    def reach(self) -> Reach:
        """How far a rollout of this network looks.

        With kernel radius r, L layers, T frames and head radius h, H leads look
        ``r (T + L - 1) + h + (H - 1)(r L + h)`` pixels far.
        """
        return measure_reach(self._look(self.shape.history), fed=self._look(1))

    def _look(self, frames: int) -> Look:
        """Tell what a forecast sees of the last ``frames`` frames."""
        layers = len(self.shape.hidden)
        look = Look().recur(self.shape.kernel, layers=layers, frames=frames)
        for _ in self.shape.head:
            look = look.conv(_HEAD_KERNEL)
        return look


def _build_head(shape: ConvLSTMShape) -> nn.Sequential:
    """Stack dropout, 3 x 3 convolutions and the zero-started 1 x 1 output."""
    wide = shape.hidden[-1]
    layers: list[nn.Module] = [MemberDropout(shape.dropout)]
    for narrow in shape.head:
        layers += _norm(shape.norm, wide)
        layers += [nn.Conv2d(wide, narrow, _HEAD_KERNEL, padding=_HEAD_KERNEL // 2), nn.ReLU()]
        wide = narrow
    layers += _norm(shape.norm, wide)
    output = nn.Conv2d(wide, 1, 1)
    nn.init.zeros_(output.weight)
    assert output.bias is not None
    nn.init.zeros_(output.bias)
    return nn.Sequential(*layers, output)


def _norm(kind: str, channels: int) -> list[nn.Module]:
    """Build the normalization before a convolution; groups of channels see the whole tile."""
    if kind == "batch":
        return [nn.BatchNorm2d(channels)]
    if kind == "group":
        return [nn.GroupNorm(math.gcd(channels, _GROUPS), channels)]
    return []


def count_parameters(network: nn.Module) -> int:
    """Count what training may change."""
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)
