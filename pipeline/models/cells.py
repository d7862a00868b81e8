"""The recurrent cell that all convolutional families share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pipeline.models.gates import LSTMState, inference_gates, training_gates


class StaticProjection(NamedTuple):
    """What static channels add to the inputs of every frame."""

    maps: Tensor
    """Convolved, with the bias (b, 4h, y, x)."""
    n_channels: int
    """How many they are."""


class ConvLSTMCell(nn.Module):
    """Convolutional LSTM cell, eq. 3 of Shi et al. (2015), without peepholes.

    Source: https://arxiv.org/abs/1506.04214. The one convolution over input and hidden maps is
    kept as two, so that the inputs of frames can be convolved outside the recurrence. Same
    padding: y and x never change.
    """

    def __init__(self, channels: int, hidden: int, *, kernel: int = 3) -> None:
        super().__init__()
        self.hidden = hidden
        self.inputs = nn.Conv2d(channels, 4 * hidden, kernel, padding=kernel // 2)
        self.memory = nn.Conv2d(hidden, 4 * hidden, kernel, padding=kernel // 2, bias=False)
        # Started open, the forget gate lets gradients reach the first frames
        # (Jozefowicz et al. 2015, section 2.1).
        with torch.no_grad():
            self.inputs.bias[:hidden] = 1.0  # type: ignore[index]

    def forward(self, frames: Tensor) -> Tensor:
        """Compute hidden maps (b, t, h, y, x) of frames (b, t, c, y, x) from a zero state."""
        return torch.stack(self.run(self.project_input(frames)), dim=1)  # (b, t, h, y, x)

    def project_input(
        self, frames: Tensor, static: StaticProjection | None = None
    ) -> tuple[Tensor, ...]:
        """Convolve the inputs of frames (b, t, c, y, x) in one call; t maps (b, 4h, y, x).

        Args:
            frames: all channels, or with ``static`` the dynamic ones, which come first.
            static: what ``project_static`` returned for the other channels.

        Raises:
            ValueError: both together are not the channels of this cell.
        """
        flat = frames.flatten(0, 1)  # (b t, c, y, x)
        batch_and_time = (-1, frames.shape[1])
        if static is None:
            return torch.unflatten(self.inputs(flat), 0, batch_and_time).unbind(dim=1)
        self._check_channels(flat.shape[1], static.n_channels)
        dynamic = self._convolve(
            flat, self.inputs.weight[:, : flat.shape[1]]
        )  # (b t, 4h, y, x)
        maps = torch.unflatten(dynamic, 0, batch_and_time)  # (b, t, 4h, y, x)
        return maps.add_(static.maps[:, None]).unbind(dim=1)

    def project_static(self, statics: Tensor) -> StaticProjection:
        """Convolve the last channels of every frame alone, with the bias (b, 4h, y, x).

        Convolution is linear: what is the same in all frames is convolved once (b, s, y, x).
        """
        n = statics.shape[1]
        bias = self.inputs.bias
        assert bias is not None
        if not n:
            return StaticProjection(bias[None, :, None, None], 0)  # (1, 4h, 1, 1)
        return StaticProjection(self._convolve(statics, self.inputs.weight[:, -n:], bias), n)

    def run(self, projected: Sequence[Tensor]) -> list[Tensor]:
        """Run through frames whose inputs are convolved; t hidden maps (b, h, y, x)."""
        state: LSTMState | None = None
        hidden = []
        for frame in projected:
            state = self.step(frame, state)
            hidden.append(state.hidden)
        return hidden

    def step(self, projected: Tensor, state: LSTMState | None) -> LSTMState:
        """Advance the memory by one frame whose inputs are convolved already (b, 4h, y, x)."""
        # A zero state needs no convolution: it would only add zeros.
        if torch.is_grad_enabled():
            gates = projected if state is None else projected + self.memory(state.hidden)
            return training_gates(gates, state and state.cell)
        # Several windows read a projected frame, so it is copied before the gates overwrite it.
        gates = (
            projected.clone() if state is None else self.memory(state.hidden).add_(projected)
        )
        return inference_gates(gates, state and state.cell)

    def step_from_frame(self, frame: Tensor, state: LSTMState | None) -> LSTMState:
        """Advance the memory by one frame (b, c, y, x) that is convolved here, with it."""
        if state is None or torch.is_grad_enabled():
            (projected,) = self.project_input(frame[:, None])
            return self.step(projected, state)
        # One wide convolution writes the gates once; two narrow ones write and add.
        joined = torch.cat([frame, state.hidden], dim=1)  # (b, c + h, y, x)
        weight = torch.cat([self.inputs.weight, self.memory.weight], dim=1)
        return inference_gates(self._convolve(joined, weight, self.inputs.bias), state.cell)

    def _check_channels(self, n_dynamic: int, n_static: int) -> None:
        if n_dynamic + n_static != self.inputs.in_channels:
            raise ValueError(
                f"{n_dynamic} channels with a date and {n_static} static ones are not the "
                f"{self.inputs.in_channels} of this network, so weights would meet the wrong "
                "maps; stack the channels that it was built for"
            )

    def _convolve(self, maps: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return nn.functional.conv2d(maps, weight, bias, padding=weight.shape[-1] // 2)
