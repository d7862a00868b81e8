"""The ConvLSTM of the systems that ours follows, which the device benchmark compares with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.models import ConvLSTM
from pipeline.models.cells import ConvLSTMCell


class ReferenceCell(nn.Module):
    """ConvLSTM cell as its paper writes it: one convolution over inputs and memory joined."""

    def __init__(self, cell: ConvLSTMCell) -> None:
        super().__init__()
        weight = torch.cat([cell.inputs.weight, cell.memory.weight], dim=1)
        self.hidden = cell.hidden
        n_gates, in_channels, kernel, _ = weight.shape
        self.gates = nn.Conv2d(in_channels, n_gates, kernel, padding=kernel // 2)
        assert self.gates.bias is not None
        assert cell.inputs.bias is not None
        self.gates.weight.data = weight.data
        self.gates.bias.data = cell.inputs.bias.data

    def forward(self, frames: Tensor) -> Tensor:
        """Compute hidden maps (b, t, h, y, x) of frames (b, t, c, y, x) from a zero state."""
        batch, n_frames, _, *size = frames.shape
        hidden = cell = frames.new_zeros(batch, self.hidden, *size)
        outputs = []
        for index in range(n_frames):
            gates = self.gates(torch.cat([frames[:, index], hidden], dim=1))  # (b, 4h, y, x)
            forget_gate, input_gate, output_gate, candidate = gates.chunk(4, dim=1)
            cell = forget_gate.sigmoid() * cell + input_gate.sigmoid() * candidate.tanh()
            hidden = output_gate.sigmoid() * cell.tanh()
            outputs.append(hidden)
        return torch.stack(outputs, dim=1)


class ReferenceConvLSTM(nn.Module):
    """The network of the systems that ours follows, with the weights of ours."""

    def __init__(self, network: ConvLSTM) -> None:
        super().__init__()
        cells = [cell for cell in network.cells if isinstance(cell, ConvLSTMCell)]
        self.cells = nn.ModuleList(ReferenceCell(cell) for cell in cells)
        self.head = network.head

    def forward(self, frames: Tensor) -> Tensor:
        """Forecast one frame (b, y, x) from frames (b, t, c, y, x)."""
        hidden = frames
        for cell in self.cells:
            hidden = cell(hidden)  # (b, t, h, y, x)
        change: Tensor = self.head(hidden[:, -1])
        return change[:, 0]
