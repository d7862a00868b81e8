"""Stacked ConvLSTM cells with a convolutional head."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.channels import TARGET
from pipeline.models.cells import ConvLSTMCell, StaticProjection
from pipeline.models.dropout import MCDropout2d
from pipeline.models.gates import LSTMState
from pipeline.models.quantiles import enforce_order, initial_bias
from pipeline.models.reach import Reach, measure_reach
from pipeline.models.receptive_field import ReceptiveField
from pipeline.models.step_spec import StepSpec
from pipeline.registry import check_option, look_up

_HEAD_KERNEL = 3
_GROUPS = 8  # at most
_CHANNELS_LAST_FROM = 16
"""Hidden channels from which on CPUs work faster when the channels of a pixel lie together.

Narrower maps are shorter than a vector register.
"""


@dataclass(frozen=True, slots=True)
class ConvLSTMSpec:
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
    """``window`` reads the history for every lead, ``carried`` goes on from its memory."""
    quantiles: Sequence[float] = ()
    """Which quantiles are forecast, rising; without them there is one value a pixel."""

    def __post_init__(self) -> None:
        check_option(_NORMS, self.norm, "model.norm")
        check_option(("none", "persistence"), self.residual, "model.residual")
        check_option(("window", "carried"), self.memory, "model.memory")

    @property
    def n_outputs(self) -> int:
        """Values of one pixel and frame."""
        return max(1, len(self.quantiles))


class ConvLSTM(nn.Module):
    """Forecast the next frame of the target from a window of frames.

    The last hidden map of the top cell passes dropout, 3 x 3 convolutions and a 1 x 1 output.
    The output starts at zero, so an untrained network forecasts the mean of its space (with
    ``anomaly``: the climatology), or the last frame with ``residual='persistence'``. With
    ``quantiles`` that is their median, and the others start around it as those of a standard
    normal distribution.

    Source: the layout of the XCO2 system in docs, whose output was not zero-started. Batch
    normalization keeps running statistics at inference and so does not couple pixels.
    """

    def __init__(self, shape: ConvLSTMSpec) -> None:
        super().__init__()
        self.shape = shape
        widths = [shape.channels, *shape.hidden]
        self.cells = nn.ModuleList(
            ConvLSTMCell(channels, hidden, kernel=shape.kernel)
            for channels, hidden in zip(widths, shape.hidden, strict=False)
        )
        self.head = _build_head(shape)

    def forward(self, frames: Tensor) -> Tensor:
        """Forecast one frame (b, y, x) from frames (b, t, c, y, x).

        With quantiles the frame is (b, q, y, x), here and below.
        """
        return self.predict(
            self._cell(0).project_input(self._to_channels_last(frames)), frames[:, -1, TARGET]
        )

    def encode_static(self, statics: Tensor) -> StaticProjection:
        """Compute what looks at the statics (b, s, y, x) alone, last in ``channels.ORDER``."""
        return self._cell(0).project_static(self._to_channels_last(statics))

    def encode_dynamic(
        self, frames: Tensor, static_encoding: StaticProjection
    ) -> tuple[Tensor, ...]:
        """Compute what looks at each frame alone, without its statics (b, t, c - s, y, x)."""
        return self._cell(0).project_input(self._to_channels_last(frames), static_encoding)

    def predict(self, encoded: Sequence[Tensor], last: Tensor) -> Tensor:
        """Forecast one frame (b, y, x) from encoded ones and the last target (b, y, x)."""
        return self._apply_head(self._run_layers(encoded, [None] * len(self.cells)), last)

    def step(
        self, encoded: Sequence[Tensor], last: Tensor, memory: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Forecast one frame (b, y, x) from encoded ones; return the memory (b, m, y, x)."""
        initial = [None] * len(self.cells) if memory is None else self._unpack_memory(memory)
        states = self._run_layers(encoded, initial)
        return self._apply_head(states, last), _pack(states)

    @property
    def memory_channels(self) -> int:
        """Maps of a memory: hidden and cell maps of every layer."""
        return 2 * sum(self.shape.hidden)

    def _run_layers(
        self, encoded: Sequence[Tensor], initial: Sequence[LSTMState | None]
    ) -> list[LSTMState]:
        """Read frames one after the other, through all layers; return the state of each."""
        states = list(initial)
        for projected in encoded:
            states[0] = state = self._cell(0).step(projected, states[0])
            for layer in range(1, len(self.cells)):
                state = self._cell(layer).step_from_frame(state.hidden, states[layer])
                states[layer] = state
        return [state for state in states if state is not None]

    def _apply_head(self, states: Sequence[LSTMState], last: Tensor) -> Tensor:
        frame: Tensor = self.head(states[-1].hidden)  # (b, q, y, x)
        if self.shape.quantiles:
            frame = enforce_order(frame, self.reading.median_index)
        if self.shape.residual == "persistence":
            frame = last[:, None] + frame
        return frame if self.shape.quantiles else frame[:, 0]

    def _unpack_memory(self, memory: Tensor) -> list[LSTMState]:
        if memory.shape[1] != self.memory_channels:
            raise ValueError(
                f"the memory has {memory.shape[1]} maps but this network keeps "
                f"{self.memory_channels}, so it belongs to another; roll out from the history"
            )
        layers = torch.split(memory, [2 * hidden for hidden in self.shape.hidden], dim=1)
        return [LSTMState(*layer.chunk(2, dim=1)) for layer in layers]

    def _to_channels_last(self, frames: Tensor) -> Tensor:
        """Choose the order of the values in memory; all that follows keeps it."""
        wide = min(self.shape.hidden) >= _CHANNELS_LAST_FROM
        if not wide or frames.is_cuda or torch.is_grad_enabled():
            return frames
        flat = frames.flatten(0, -4).contiguous(memory_format=torch.channels_last)
        return flat.view(frames.shape)

    def _cell(self, layer: int) -> ConvLSTMCell:
        cell = self.cells[layer]
        assert isinstance(cell, ConvLSTMCell)
        return cell

    @property
    def reading(self) -> StepSpec:
        """Which frames one call reads and forecasts."""
        shape = self.shape
        carries = shape.memory == "carried"
        return StepSpec(shape.history, carries=carries, quantiles=tuple(shape.quantiles))

    @property
    def reach(self) -> Reach:
        """How far a rollout of this network looks.

        With kernel radius r, L layers, T frames and head radius h, H leads look
        ``r (T + L - 1) + h + (H - 1)(r L + h)`` pixels far. A carried memory changes nothing,
        as every frame costs it less than a lead that is fed back; leads that go on from a
        memory look ``H (r L + h)`` far, which is never more.
        """
        return measure_reach(
            self._receptive_field(self.shape.history), feedback=self._receptive_field(1)
        )

    def _receptive_field(self, frames: int) -> ReceptiveField:
        """Compute what a forecast sees of the last ``frames`` frames."""
        layers = len(self.shape.hidden)
        field = ReceptiveField().recurrent(self.shape.kernel, layers=layers, frames=frames)
        for _ in self.shape.head:
            field = field.conv(_HEAD_KERNEL)
        return field


def _pack(states: Sequence[LSTMState]) -> Tensor:
    """Put the maps of all layers side by side, in float32 or wider (b, m, y, x)."""
    maps = torch.cat([half for state in states for half in state], dim=1)
    return maps.to(torch.promote_types(maps.dtype, torch.float32))


def _build_head(shape: ConvLSTMSpec) -> nn.Sequential:
    """Stack dropout, 3 x 3 convolutions and the 1 x 1 output, whose weights start at zero."""
    in_channels = shape.hidden[-1]
    layers: list[nn.Module] = [MCDropout2d(shape.dropout)]
    for out_channels in shape.head:
        layers += _norm(shape.norm, in_channels)
        conv = nn.Conv2d(in_channels, out_channels, _HEAD_KERNEL, padding=_HEAD_KERNEL // 2)
        layers += [conv, nn.ReLU()]
        in_channels = out_channels
    layers += _norm(shape.norm, in_channels)
    output = nn.Conv2d(in_channels, shape.n_outputs, 1)
    nn.init.zeros_(output.weight)
    assert output.bias is not None
    nn.init.zeros_(output.bias)
    if shape.quantiles:
        with torch.no_grad():
            output.bias.copy_(initial_bias(shape.quantiles))
    return nn.Sequential(*layers, output)


def _norm(kind: str, channels: int) -> list[nn.Module]:
    """Build the normalization before a convolution; groups of channels see the whole tile."""
    return look_up(_NORMS, kind, "model.norm")(channels)


_NORMS: Mapping[str, Callable[[int], list[nn.Module]]] = {
    "none": lambda channels: [],
    "batch": lambda channels: [nn.BatchNorm2d(channels)],
    "group": lambda channels: [nn.GroupNorm(math.gcd(channels, _GROUPS), channels)],
}


def count_parameters(network: nn.Module) -> int:
    """Count what training may change."""
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)
