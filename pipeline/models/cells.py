"""The recurrent cell that all convolutional families share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class State(NamedTuple):
    """Memory of a ConvLSTM: hidden and cell maps, each (b, h, y, x)."""

    hidden: Tensor
    cell: Tensor


class ConvLSTMCell(nn.Module):
    """Convolutional LSTM cell, eq. 3 of Shi et al. (2015), without peepholes.

    Source: https://arxiv.org/abs/1506.04214. The one convolution over input and hidden maps is
    written as two, so that the inputs of all frames are convolved in one call, outside the
    recurrence. Same padding: y and x never change.
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
        """Read frames (b, t, c, y, x) from a zero state; give hidden maps (b, t, h, y, x)."""
        return torch.stack(self.recur(self.drive(frames)), dim=1)  # (b, t, h, y, x)

    def drive(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Convolve the inputs of frames (b, t, c, y, x) in one call; t maps (b, 4h, y, x)."""
        driven: Tensor = self.inputs(frames.flatten(0, 1))  # (b t, 4h, y, x)
        return driven.reshape(*frames.shape[:2], *driven.shape[1:]).unbind(dim=1)

    def recur(self, driven: Sequence[Tensor]) -> list[Tensor]:
        """Run through frames whose inputs are convolved; t hidden maps (b, h, y, x)."""
        state: State | None = None
        hidden = []
        for drive in driven:
            state = self.step(drive, state)
            hidden.append(state.hidden)
        return hidden

    def step(self, drive: Tensor, state: State | None) -> State:
        """Advance the memory by one frame whose inputs are convolved already (b, 4h, y, x)."""
        # A zero state needs no convolution: it would only add zeros.
        gates = drive if state is None else drive + self.memory(state.hidden)  # (b, 4h, y, x)
        opened, candidate = gates.split([3 * self.hidden, self.hidden], dim=1)
        keep, write, show = opened.sigmoid().chunk(3, dim=1)  # each (b, h, y, x)
        cell = write * candidate.tanh()
        if state is not None:
            cell = torch.addcmul(cell, keep, state.cell)
        return State(show * cell.tanh(), cell)
