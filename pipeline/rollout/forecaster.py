"""A model ready to forecast: the networks of its bundles and the cube they look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.models import build_network
from pipeline.models.reading import Reading, Reads
from pipeline.models.roll import Inputs, roll, roll_on
from pipeline.models.sight import carrier_of
from pipeline.rollout.device import arithmetic, host_tensor
from pipeline.rollout.members import Member
from pipeline.rollout.plan import Block
from pipeline.rollout.request import Request
from pipeline.streams.fields import FIELDS
from pipeline.streams.read import Source
from pipeline.streams.samples import Span
from pipeline.streams.stack import Stack
from pipeline.streams.transforms import Values
from pipeline.tiling.plan import Tile
from stores.bundle import read_bundle
from stores.times import Times
from stores.windows import Window

_COMPUTING = Lock()


class Earlier(Protocol):
    """What earlier blocks left for later ones."""

    def frames(self, window: Window, first: int, stop: int) -> Values:
        """Read normalized leads, from 0 (member, leads, y, x)."""

    def memory(self, window: Window) -> Values:
        """Read what networks remembered after the block before (member, channel, y, x)."""


class Rolled(NamedTuple):
    """What windows of one shape were rolled out to, in the network's space."""

    frames: Values
    """Members, or the quantiles of one forecast (b, m, leads, y, x)."""
    memory: Values | None = None
    """What networks remember after them (b, m, channel, y, x); None where they do not."""


class Parts(NamedTuple):
    """What one tile of one block looks at, normalized; invalid values are 0."""

    target: Values
    """History (m, t, y, x); one for all members while they have not parted."""
    valid: npt.NDArray[np.bool_]
    """Where the history is usable (t, y, x)."""
    forcings: Values
    """Covariates of every frame, at its true date (n, f, y, x)."""
    statics: Values
    """Covariates without a date (s, y, x)."""
    domain: npt.NDArray[np.bool_]
    """Where forecasts are made (y, x)."""
    memory: Values | None = None
    """What networks remembered before (m, channel, y, x); None where they read the history."""


class Loaded(NamedTuple):
    """Parts of several tiles on their way to the device."""

    inputs: Inputs
    """The target as (b, m, t, y, x)."""
    memory: Tensor | None = None
    """As (b, m, channel, y, x)."""


@dataclass(frozen=True)
class Forecaster:
    """Networks, channels and device of one process."""

    networks: tuple[Reads, ...]
    source: Source
    device: torch.device

    @property
    def memory_channels(self) -> int:
        """Maps that a network remembers from block to block; 0 when it reads again."""
        network = self.networks[0]
        return carrier_of(network).memory_channels if network.reading.carries else 0

    def reading(self, block: Block) -> Reading:
        """Say how all networks read a block: what they remember they do not read again."""
        reading = self.networks[0].reading
        return replace(reading, history=1) if reading.carries and block.first else reading

    def lead_times(self, request: Request, block: Block) -> Times:
        """List the frames that a block forecasts."""
        step, span = self.source.open().step, Span.of(self.reading(block), block.leads)
        return span.lead_times(step, step.add(request.init, block.first))

    def read(
        self, tile: Tile, request: Request, block: Block, earlier: Earlier | None = None
    ) -> Parts:
        """Read what one tile of one block looks at, at the true date of every frame.

        Args:
            tile: window to read.
            request: the forecast it belongs to.
            block: leads to roll out.
            earlier: reads the normalized leads of earlier blocks; not needed by the first.
        """
        source, step, window = self.source, self.source.open().step, tile.reads
        span = Span.of(self.reading(block), block.leads)
        start = step.add(request.init, block.first)
        target, valid = self._history(window, span.read_times(step, start), block, earlier)
        # What was known is known at init, whichever block asks.
        forcings = source.forcings(window, span.forcing_times(step, start), request.init)
        remembers = self.memory_channels > 0 and block.first > 0
        memory = earlier.memory(window) if remembers and earlier else None
        return Parts(
            target, valid, forcings, source.statics(window), source.domain(window), memory
        )

    def load(self, parts: Sequence[Parts]) -> Loaded:
        """Stack windows of one shape for the device."""
        *columns, memories = zip(*parts, strict=True)
        inputs = Inputs(*(host_tensor(np.stack(column), self.device) for column in columns))
        if memories[0] is None:
            return Loaded(inputs)
        return Loaded(inputs, host_tensor(np.stack(memories), self.device))

    def roll(
        self, tiles: Sequence[Tile], loaded: Loaded, request: Request, block: Block
    ) -> Rolled:
        """Roll windows out, member by member; one thread of a process at a time.

        Threads share the network, whose dropout knows one member, and its device or cores.
        """
        with _COMPUTING:
            return self._roll_all(tiles, loaded, request, block)

    def _roll_all(
        self, tiles: Sequence[Tile], loaded: Loaded, request: Request, block: Block
    ) -> Rolled:
        there = Inputs(*(part.to(self.device, non_blocking=True) for part in loaded.inputs))
        memory = loaded.memory
        origins = [(tile.reads.y0, tile.reads.x0) for tile in tiles]
        rolled = [
            self._roll(
                Member(number, request.members, block, origins),
                there,
                None if memory is None else memory[:, number].to(self.device),
                request,
            )
            for number in range(request.members.n)
        ]
        frames, memories = zip(*rolled, strict=True)
        together = None if memories[0] is None else np.stack(memories, axis=1)
        return Rolled(np.concatenate(frames, axis=1), together)

    def restore(self, tile: Tile, owned: Values, request: Request, times: Times) -> Values:
        """Bring what a tile owns to physical units (leads, y, x); NaN outside the domain."""
        values = self.source.restore(owned, tile.owns, times)
        if request.minimum is not None or request.maximum is not None:
            values = np.clip(values, request.minimum, request.maximum)
        return np.where(self.source.domain(tile.owns), values, np.float32(np.nan))

    def restorer(
        self, tile: Tile, request: Request, block: Block
    ) -> Callable[[Values], Values]:
        """Give the function that restores what a tile owns of a block (leads, y, x)."""
        times = self.lead_times(request, block)
        return partial(self.restore, tile, request=request, times=times)

    def normalized(self, tiles: Sequence[Tile], request: Request) -> Values:
        """Roll all leads of tiles of one shape in one block (b, m, leads, y, x)."""
        block = Block(0, request.leads)
        parts = [self.read(tile, request, block) for tile in tiles]
        return self.roll(tiles, self.load(parts), request, block).frames

    def owned(self, tile: Tile, request: Request) -> Values:
        """Forecast all leads of what a tile owns in one block (m, leads, y, x), normalized."""
        frames: Values = self.normalized([tile], request)[0][..., *tile.kept.slices]
        return frames

    def physical(self, tile: Tile, request: Request) -> Values:
        """Forecast all leads of what a tile owns (m, leads, y, x), in physical units."""
        restore = self.restorer(tile, request, Block(0, request.leads))
        return np.stack([restore(member) for member in self.owned(tile, request)])

    def _roll(
        self, member: Member, inputs: Inputs, memory: Tensor | None, request: Request
    ) -> tuple[Values, Values | None]:
        """Roll one member out (b, q, leads, y, x), and give what it remembers (b, c, y, x).

        A network that gives no quantiles has one field of every frame.
        """
        network = self.networks[member.number % len(self.networks)]
        own, leads = member.perturb(inputs, self.reading(member.block)), member.block.leads
        at_lead = partial(member.at_lead, network)
        with torch.inference_mode(), arithmetic(request.precision, self.device):
            if not self.memory_channels:
                frames, kept = roll(network, own, leads=leads, at_lead=at_lead), None
            else:
                frames, kept = roll_on(
                    network, own, leads=leads, memory=memory, at_lead=at_lead
                )
        fields = frames.movedim(0, 1) if network.reading.quantiles else frames[:, None]
        return _to_host(fields), None if kept is None else _to_host(kept)

    def _history(
        self, window: Window, times: Times, block: Block, earlier: Earlier | None
    ) -> tuple[Values, npt.NDArray[np.bool_]]:
        """Read the frames before a block: observed ones, then earlier leads, then none.

        Frames that a network must not know, or that it does not read back, stay invalid.
        """
        reading, shape = self.reading(block), (len(times), *window.shape)
        n_rolled = min(block.first, reading.known)  # with a memory, the last one alone
        n_observed = reading.known - n_rolled
        target, valid = np.zeros((1, *shape), np.float32), np.zeros(shape, dtype=np.bool_)
        if n_observed:
            observed, usable = self.source.filled_target(window, times[:n_observed])
            target[:, :n_observed] = observed
            valid[:n_observed] = usable
        if n_rolled and reading.feeds_back:
            assert earlier is not None
            rolled = earlier.frames(window, block.first - n_rolled, block.first)
            domain, fed = self.source.domain(window), slice(n_observed, reading.known)
            target = np.repeat(target, len(rolled), axis=0)
            target[:, fed], valid[fed] = np.where(domain, rolled, 0), domain
        return target, valid


def _to_host(tensor: Tensor) -> Values:
    values: Values = tensor.float().cpu().numpy()
    return values


@lru_cache(maxsize=2)
def open_forecaster(
    bundles: tuple[Path, ...], cube: Path, device: str, *, exact: bool = True
) -> Forecaster:
    """Read bundles of one kind, which were proven before, for one cube; once per process.

    Raises:
        ValueError: the bundles read other channels, or a network is not exact in tiles.
    """
    opened = [read_bundle(path) for path in bundles]
    networks = [
        build_network(bundle.description["network"], bundle.load_weights(), exact=exact)
        for bundle in opened
    ]
    stack = Stack.from_json(opened[0].description["stack"])
    return Forecaster(
        tuple(network.to(device) for network in networks),
        Source(cube, bundles[0] / FIELDS, stack),
        torch.device(device),
    )


def forecaster_of(request: Request) -> Forecaster:
    """Open what a request names."""
    exact = request.mode == "exact"
    return open_forecaster(request.bundles, request.cube, request.device, exact=exact)
