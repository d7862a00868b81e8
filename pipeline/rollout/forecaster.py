"""A model ready to forecast: the networks of its bundles and the cube they read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from pipeline.models import build_network
from pipeline.models.roll import RolloutInputs, rollout, rollout_stateful
from pipeline.models.step_spec import ForecastModel, StepSpec
from pipeline.models.steppers import require_stateful
from pipeline.rollout.device import autocast, pinned_tensor
from pipeline.rollout.ensemble import EnsembleMember
from pipeline.rollout.request import ForecastRequest
from pipeline.rollout.rollout_plan import LeadBlock
from pipeline.streams.fields import FIELDS
from pipeline.streams.input_stack import InputStack
from pipeline.streams.samples import RolloutSpan
from pipeline.streams.source import Source
from pipeline.tiling.tiles import Tile
from stores.array_types import BoolArray, Float32Array
from stores.bundle import read_bundle
from stores.times import Times
from stores.windows import Window

_COMPUTE_LOCK = Lock()


class PreviousBlocks(Protocol):
    """What earlier blocks left for later ones."""

    def frames(self, window: Window, first: int, stop: int) -> Float32Array:
        """Read normalized leads, from 0 (member, leads, y, x)."""

    def memory(self, window: Window) -> Float32Array:
        """Read what networks remembered after the block before (member, channel, y, x)."""


class TileForecast(NamedTuple):
    """What windows of one shape were rolled out to, in the network's space."""

    frames: Float32Array
    """Members, or the quantiles of one forecast (b, m, leads, y, x)."""
    memory: Float32Array | None = None
    """What networks remember after them (b, m, channel, y, x); None where they do not."""


class TileInputs(NamedTuple):
    """What one tile of one block reads, normalized; invalid values are 0."""

    target: Float32Array
    """History (m, t, y, x); m is 1 while all members are the same."""
    valid: BoolArray
    """Where the history is usable (t, y, x)."""
    forcings: Float32Array
    """Covariates of every frame, at its true date (n, f, y, x)."""
    statics: Float32Array
    """Covariates without a date (s, y, x)."""
    domain: BoolArray
    """Where forecasts are made (y, x)."""
    memory: Float32Array | None = None
    """What networks remembered before (m, channel, y, x); None where they read the history."""


class TileBatch(NamedTuple):
    """Inputs of several tiles, stacked for the device."""

    inputs: RolloutInputs
    """The target as (b, m, t, y, x)."""
    memory: Tensor | None = None
    """As (b, m, channel, y, x)."""


@dataclass(frozen=True)
class Forecaster:
    """Networks, channels and device of one process."""

    networks: tuple[ForecastModel, ...]
    source: Source
    device: torch.device

    @property
    def memory_channels(self) -> int:
        """Maps that a network remembers from block to block; 0 when it reads again."""
        network = self.networks[0]
        return require_stateful(network).memory_channels if network.reading.carries else 0

    def step_spec(self, block: LeadBlock) -> StepSpec:
        """Return how all networks read a block: what they remember they do not read again."""
        spec = self.networks[0].reading
        return replace(spec, history=1) if spec.carries and block.first else spec

    def lead_times(self, request: ForecastRequest, block: LeadBlock) -> Times:
        """List the frames that a block forecasts."""
        step = self.source.open().step
        span = RolloutSpan.of(self.step_spec(block), block.leads)
        return span.lead_times(step, step.add(request.init, block.first))

    def read(
        self,
        tile: Tile,
        request: ForecastRequest,
        block: LeadBlock,
        earlier: PreviousBlocks | None = None,
    ) -> TileInputs:
        """Read the inputs of one tile of one block, at the true date of every frame.

        Args:
            tile: window to read.
            request: the forecast it belongs to.
            block: leads to roll out.
            earlier: reads the normalized leads of earlier blocks; not needed by the first.
        """
        source = self.source
        step = source.open().step
        window = tile.reads
        span = RolloutSpan.of(self.step_spec(block), block.leads)
        start = step.add(request.init, block.first)
        target, valid = self._read_history(
            window, span.history_times(step, start), block, earlier
        )
        # What is known of the future is known at init, for every block.
        forcings = source.forcings(window, span.forcing_times(step, start), request.init)
        remembers = self.memory_channels > 0 and block.first > 0
        memory = earlier.memory(window) if remembers and earlier else None
        return TileInputs(
            target, valid, forcings, source.statics(window), source.domain(window), memory
        )

    def collate(self, tile_inputs: Sequence[TileInputs]) -> TileBatch:
        """Return the inputs of windows of one shape, stacked for the device."""
        *columns, memories = zip(*tile_inputs, strict=True)
        tensors = [pinned_tensor(np.stack(column), self.device) for column in columns]
        inputs = RolloutInputs(*tensors)
        if memories[0] is None:
            return TileBatch(inputs)
        return TileBatch(inputs, pinned_tensor(np.stack(memories), self.device))

    def rollout(
        self,
        tiles: Sequence[Tile],
        batch: TileBatch,
        request: ForecastRequest,
        block: LeadBlock,
    ) -> TileForecast:
        """Roll windows out, member by member; one thread of a process at a time.

        Threads share the network, whose dropout is set for one member, and its device or cores.
        """
        with _COMPUTE_LOCK:
            return self._rollout_members(tiles, batch, request, block)

    def _rollout_members(
        self,
        tiles: Sequence[Tile],
        batch: TileBatch,
        request: ForecastRequest,
        block: LeadBlock,
    ) -> TileForecast:
        on_device = (tensor.to(self.device, non_blocking=True) for tensor in batch.inputs)
        device_inputs = RolloutInputs(*on_device)
        memory = batch.memory
        origins = [(tile.reads.y0, tile.reads.x0) for tile in tiles]
        outputs = [
            self._rollout_member(
                EnsembleMember(number, request.members, block, origins),
                device_inputs,
                None if memory is None else memory[:, number].to(self.device),
                request,
            )
            for number in range(request.members.n)
        ]
        frames, memories = zip(*outputs, strict=True)
        memory_after = None if memories[0] is None else np.stack(memories, axis=1)
        return TileForecast(np.concatenate(frames, axis=1), memory_after)

    def to_physical(
        self, tile: Tile, owned: Float32Array, request: ForecastRequest, times: Times
    ) -> Float32Array:
        """Return what a tile owns in physical units (leads, y, x); NaN outside the domain."""
        values = self.source.inverse_transform(owned, tile.owns, times)
        if request.minimum is not None or request.maximum is not None:
            values = np.clip(values, request.minimum, request.maximum)
        return np.where(self.source.domain(tile.owns), values, np.float32(np.nan))

    def inverse_transform_of(
        self, tile: Tile, request: ForecastRequest, block: LeadBlock
    ) -> Callable[[Float32Array], Float32Array]:
        """Build the function that restores what a tile owns of a block (leads, y, x)."""
        times = self.lead_times(request, block)
        return partial(self.to_physical, tile, request=request, times=times)

    def forecast_normalized(
        self, tiles: Sequence[Tile], request: ForecastRequest
    ) -> Float32Array:
        """Roll all leads of tiles of one shape in one block (b, m, leads, y, x)."""
        block = LeadBlock(0, request.leads)
        inputs = [self.read(tile, request, block) for tile in tiles]
        return self.rollout(tiles, self.collate(inputs), request, block).frames

    def forecast_owned(self, tile: Tile, request: ForecastRequest) -> Float32Array:
        """Forecast all leads of what a tile owns in one block (m, leads, y, x), normalized."""
        frames = self.forecast_normalized([tile], request)[0]
        owned: Float32Array = frames[..., *tile.crop.slices]
        return owned

    def forecast_physical(self, tile: Tile, request: ForecastRequest) -> Float32Array:
        """Forecast all leads of what a tile owns (m, leads, y, x), in physical units."""
        restore = self.inverse_transform_of(tile, request, LeadBlock(0, request.leads))
        return np.stack([restore(member) for member in self.forecast_owned(tile, request)])

    def _rollout_member(
        self,
        member: EnsembleMember,
        inputs: RolloutInputs,
        memory: Tensor | None,
        request: ForecastRequest,
    ) -> tuple[Float32Array, Float32Array | None]:
        """Roll one member out (b, q, leads, y, x); return that and its memory (b, c, y, x).

        Without quantiles q is 1.
        """
        network = self.networks[member.number % len(self.networks)]
        member_inputs = member.add_history_noise(inputs, self.step_spec(member.block))
        leads = member.block.leads
        at_lead = partial(member.mc_dropout_at, network)
        with torch.inference_mode(), autocast(request.precision, self.device):
            if not self.memory_channels:
                frames = rollout(network, member_inputs, leads=leads, at_lead=at_lead)
                memory_after = None
            else:
                frames, memory_after = rollout_stateful(
                    network, member_inputs, leads=leads, memory=memory, at_lead=at_lead
                )
        outputs = frames.movedim(0, 1) if network.reading.quantiles else frames[:, None]
        return _to_host(outputs), None if memory_after is None else _to_host(memory_after)

    def _read_history(
        self, window: Window, times: Times, block: LeadBlock, earlier: PreviousBlocks | None
    ) -> tuple[Float32Array, BoolArray]:
        """Read the frames before a block and their validity: (m, t, y, x) and (t, y, x).

        First observed ones, then earlier leads, then none. Frames that a network must not know,
        or that it does not read back, stay invalid.
        """
        spec = self.step_spec(block)
        shape = (len(times), *window.shape)
        n_rolled = min(block.first, spec.n_known_frames)  # with a memory, the last one alone
        n_observed = spec.n_known_frames - n_rolled
        target = np.zeros((1, *shape), np.float32)
        valid = np.zeros(shape, dtype=np.bool_)
        if n_observed:
            target[:, :n_observed], valid[:n_observed] = self.source.filled_target(
                window, times[:n_observed]
            )
        if n_rolled and spec.feeds_back:
            assert earlier is not None
            feedback = earlier.frames(window, block.first - n_rolled, block.first)
            domain = self.source.domain(window)
            fed_frames = slice(n_observed, spec.n_known_frames)
            target = np.repeat(target, len(feedback), axis=0)
            target[:, fed_frames] = np.where(domain, feedback, 0)
            valid[fed_frames] = domain
        return target, valid


def _to_host(tensor: Tensor) -> Float32Array:
    values: Float32Array = tensor.float().cpu().numpy()
    return values


@lru_cache(maxsize=2)
def open_forecaster(
    bundles: tuple[Path, ...], cube: Path, device: str, *, exact: bool = True
) -> Forecaster:
    """Read bundles of one kind, which were checked before, for one cube; once per process.

    Raises:
        ValueError: the bundles read other channels, or a network is not exact in tiles.
    """
    opened = [read_bundle(path) for path in bundles]
    networks = [
        build_network(bundle.description["network"], bundle.load_weights(), exact=exact)
        for bundle in opened
    ]
    stack = InputStack.from_json(opened[0].description["stack"])
    return Forecaster(
        tuple(network.to(device) for network in networks),
        Source(cube, bundles[0] / FIELDS, stack),
        torch.device(device),
    )


def forecaster_of(request: ForecastRequest) -> Forecaster:
    """Open the forecaster of what a request names."""
    exact = request.mode == "exact"
    return open_forecaster(request.bundles, request.cube, request.device, exact=exact)
