"""Small networks of the kinds that the rollout has to carry, and inputs for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, silu

from pipeline.models import (
    ConvLSTM,
    ConvLSTMSpec,
    Reach,
    ReceptiveField,
    StepSpec,
    measure_reach,
)
from pipeline.models.cells import ConvLSTMCell
from pipeline.models.roll import RolloutInputs, rollout
from pipeline.tiling.tiles import Tile, plan_tiles
from stores.windows import Window

N_FORCINGS, N_STATICS = 2, 1
CHANNELS = 2 + N_FORCINGS + N_STATICS


class Stated(Protocol):
    """A network that states how it reads and how far it looks."""

    @property
    def reading(self) -> StepSpec: ...

    @property
    def reach(self) -> Reach: ...

    def __call__(self, frames: Tensor, /) -> Tensor: ...


class UNet(nn.Module):
    """Frames as channels, strided down, half-pixel upsampled, with a skip at every level.

    Sides that are no multiple of the total stride are padded with zeros on the bottom and the
    right: windows of tiles have the grid's remainder, so the last ones are padded as the grid
    is, and what others pad lies beyond their halo.
    """

    def __init__(
        self, *, history: int, strides: tuple[int, ...] = (2,), kernel: int = 3, pooled: bool
    ) -> None:
        super().__init__()
        self.reading = StepSpec(history)
        self.strides, self.kernel, self.pooled = strides, kernel, pooled
        first = nn.Conv2d(CHANNELS * history, 3, kernel, padding=kernel // 2)
        self.enter = nn.Sequential(first, nn.BatchNorm2d(3), nn.SiLU())
        self.down = nn.ModuleList(_shrink(stride, pooled=pooled) for stride in strides)
        self.up = nn.ModuleList(
            nn.Upsample(scale_factor=stride, mode="bilinear") for stride in strides
        )
        self.merge = nn.ModuleList(nn.Conv2d(6, 3, 3, padding=1) for _ in strides)
        self.leave = nn.Conv2d(3, 1, 1)
        self.total = math.prod(strides)

    def forward(self, frames: Tensor) -> Tensor:
        height, width = frames.shape[-2:]
        padded = pad(frames.flatten(1, 2), (0, -width % self.total, 0, -height % self.total))
        maps = [self.enter(padded)]
        for down in self.down:
            maps.append(silu(down(maps[-1])))
        risen = maps.pop()
        for up, merge in zip(reversed(self.up), reversed(self.merge), strict=True):
            risen = silu(merge(torch.cat([up(risen), maps.pop()], dim=1)))
        out: Tensor = self.leave(risen)[..., :height, :width]
        return out

    @property
    def reach(self) -> Reach:
        looks = [ReceptiveField().conv(self.kernel)]
        for stride in self.strides:
            last = looks[-1]
            looks.append(last.pool(stride) if self.pooled else last.conv(3, stride=stride))
        risen = looks.pop()
        for stride in reversed(self.strides):
            risen = risen.upsample(stride).concat(looks.pop()).conv(3)
        return measure_reach(risen, feedback=risen)


class DirectHead(nn.Module):
    """Recurrent cells whose dilated head gives several leads at once."""

    def __init__(self, *, history: int, emits: int, layers: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.reading = StepSpec(history, emits=emits)
        self.dilation = dilation
        widths = [CHANNELS, *[3] * layers]
        self.cells = nn.ModuleList(ConvLSTMCell(wide, 3) for wide, _ in pairwise(widths))
        self.head = nn.Conv2d(3, emits, 3, dilation=dilation, padding=dilation)

    def forward(self, frames: Tensor) -> Tensor:
        for cell in self.cells:
            frames = cell(frames)
        out: Tensor = self.head(frames[:, -1])
        return out

    @property
    def reach(self) -> Reach:
        history, emits = self.reading.history, self.reading.emits
        return measure_reach(
            self._look(history), feedback=self._look(min(history, emits)), emits=emits
        )

    def _look(self, frames: int) -> ReceptiveField:
        look = ReceptiveField().recurrent(3, layers=len(self.cells), frames=frames)
        return look.conv(3, dilation=self.dilation)


class PixelLSTM(nn.Module):
    """One pixel at a time, driven by forcings known ahead; never reads its own output."""

    def __init__(self, *, history: int, emits: int) -> None:
        super().__init__()
        self.reading = StepSpec(history, emits=emits, ahead=emits, feeds_back=False)
        self.cell = ConvLSTMCell(CHANNELS, 4, kernel=1)
        self.head = nn.Conv2d(4, 1, 1)

    def forward(self, frames: Tensor) -> Tensor:
        hidden = self.cell(frames)[:, -self.reading.emits :]  # (b, e, h, y, x)
        out: Tensor = self.head(hidden.flatten(0, 1)).unflatten(0, hidden.shape[:2])[:, :, 0]
        return out

    @property
    def reach(self) -> Reach:
        return measure_reach(ReceptiveField(), feedback=None, emits=self.reading.emits)


class WindowCNN(nn.Module):
    """A map of the window's own last date, from the frames up to it."""

    def __init__(self, *, history: int, kernel: int = 3, dilation: int = 1) -> None:
        super().__init__()
        self.reading = StepSpec(history, first_lead=0, feeds_back=False)
        self.kernel, self.dilation = kernel, dilation
        margin = dilation * (kernel // 2)
        self.enter = nn.Conv2d(CHANNELS * history, 4, kernel, dilation=dilation, padding=margin)
        self.leave = nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, frames: Tensor) -> Tensor:
        out: Tensor = self.leave(silu(self.enter(frames.flatten(1, 2))))
        return out[:, 0]

    @property
    def reach(self) -> Reach:
        return measure_reach(
            ReceptiveField().conv(self.kernel, dilation=self.dilation).conv(3), feedback=None
        )


def _shrink(stride: int, *, pooled: bool) -> nn.Module:
    return nn.AvgPool2d(stride) if pooled else nn.Conv2d(3, 3, 3, stride=stride, padding=1)


def make_convlstm(
    *,
    history: int,
    layers: int = 1,
    kernel: int = 3,
    heads: int = 1,
    hidden: int = 3,
    **more: Any,
) -> ConvLSTM:
    """Build a ConvLSTM of few hidden channels; ``more`` is of its shape."""
    shape = ConvLSTMSpec(
        CHANNELS,
        history,
        hidden=(hidden,) * layers,
        kernel=kernel,
        head=(4,) * heads,
        **more,
    )
    return ConvLSTM(shape)


class Built(NamedTuple):
    """How a kind of network is built, as a test prints it."""

    build: Callable[..., Stated]
    sizes: dict[str, object]

    def network(self, seed: int = 0) -> Stated:
        """Build it with random weights, ready to forecast in float64."""
        torch.manual_seed(seed)
        network = self.build(**self.sizes)
        assert isinstance(network, nn.Module)
        network.double().eval()
        for weight in network.parameters():
            nn.init.normal_(weight, std=0.6)
        return network

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}={size}" for name, size in self.sizes.items())
        return f"{self.build.__name__}({sizes})"


def make_inputs(
    reading: StepSpec,
    shape: tuple[int, int],
    *,
    leads: int,
    seed: int = 0,
    batch: int = 1,
    gaps: float = 0.2,
) -> RolloutInputs:
    """Draw float64 inputs of a rollout; ``gaps`` is the share that is invalid or no domain."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*sizes: int) -> Tensor:
        return torch.randn(batch, *sizes, *shape, generator=draw, dtype=torch.float64)

    valid = torch.rand(batch, reading.history, *shape, generator=draw) >= gaps
    return RolloutInputs(
        target=normal(reading.history) * valid,
        valid=valid,
        forcings=normal(reading.n_forcing_frames(leads), N_FORCINGS),
        statics=normal(N_STATICS),
        domain=torch.rand(batch, *shape, generator=draw) >= gaps,
    )


def medians(frames: Tensor, reading: StepSpec) -> Tensor:
    """Give what is fed back of frames (b, l, y, x), or of their quantiles (q, b, l, y, x)."""
    return frames[reading.median_index] if reading.quantiles else frames


def later(inputs: RolloutInputs, rolled: Tensor, reading: StepSpec) -> RolloutInputs:
    """Give what the block after ``rolled`` reads: the last frame, fed back."""
    frames, domain = medians(rolled, reading), inputs.domain[:, None]
    return inputs._replace(
        target=torch.where(domain, frames[:, -1:], 0.0),
        valid=domain,
        forcings=inputs.forcings[:, reading.history - 1 + frames.shape[1] :],
    )


def cut(inputs: RolloutInputs, window: Window) -> RolloutInputs:
    """Take a window of all inputs."""
    return RolloutInputs(*(part[..., *window.slices] for part in inputs))


def plan(network: Stated, shape: tuple[int, int], *, leads: int, core: int) -> list[Tile]:
    """Plan tiles with exactly the reach that a network states."""
    reach = network.reach
    return plan_tiles(shape, core=core, halo=reach.radius(leads), stride=reach.stride)


def roll_tiles(
    network: Stated, inputs: RolloutInputs, tiles: list[Tile], *, leads: int
) -> Tensor:
    """Roll out tile by tile and put what the tiles own together (..., leads, y, x)."""
    parts = [rollout(network, cut(inputs, tile.reads), leads=leads) for tile in tiles]
    return stitch(parts, tiles, inputs.domain.shape[1:])


def stitch(parts: list[Tensor], tiles: list[Tile], shape: Sequence[int]) -> Tensor:
    """Put what tiles own of their parts (..., y, x) together."""
    whole = torch.full((*parts[0].shape[:-2], *shape), torch.nan, dtype=torch.float64)
    for part, tile in zip(parts, tiles, strict=True):
        whole[..., *tile.owns.slices] = part[..., *tile.crop.slices]
    return whole
