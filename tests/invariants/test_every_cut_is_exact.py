"""A search for a counter-example: no tile, block, batch or worker changes a forecast."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from flows.runtime import open_executor
from pipeline.executors import Executor, SerialExecutor
from pipeline.models.reach import Reach
from pipeline.models.roll import RolloutInputs, rollout, rollout_stateful
from pipeline.models.step_spec import StepSpec
from pipeline.recipes import ComputeRecipe
from pipeline.tiling.tiles import Tile, plan_tiles
from tests.invariants.test_every_kind_is_tile_exact import EXACT, kinds, sides
from tests.networks import Built, Stated, cut, make_convlstm, make_inputs


class Cut(NamedTuple):
    """How a rollout is cut."""

    core: int
    block: int
    batch: int
    workers: int


cuts = st.builds(
    Cut,
    core=st.integers(7, 40),
    block=st.integers(1, 4),
    batch=st.integers(1, 3),
    workers=st.integers(0, 2),
)


@pytest.fixture(scope="module")
def spreads() -> Iterator[list[Executor]]:
    """This process, one worker process, and two."""
    one, two = (ComputeRecipe(workers=n, threads=1, device="cpu") for n in (1, 2))
    with open_executor(one) as single, open_executor(two) as double:
        yield [SerialExecutor(), single, double]


def block_inputs(
    reading: StepSpec, inputs: RolloutInputs, rolled: Tensor, first: int
) -> RolloutInputs:
    """Give what the block from lead ``first`` reads: observed frames, then rolled ones."""
    domain = inputs.domain[:, None].expand_as(rolled)
    usable = domain if reading.feeds_back else torch.zeros_like(domain)
    known = slice(0, reading.n_known_frames)
    target = torch.cat([inputs.target[:, known], torch.where(usable, rolled, 0.0)], dim=1)
    valid = torch.cat([inputs.valid[:, known], usable], dim=1)
    unknown = reading.history - reading.n_known_frames  # the frame that is forecast itself
    last = slice(target.shape[1] - reading.n_known_frames, None)
    blank = target.new_zeros(len(target), unknown, *target.shape[2:])
    return inputs._replace(
        target=torch.cat([target[:, last], blank], dim=1),
        valid=torch.cat([valid[:, last], blank.bool()], dim=1),
        forcings=inputs.forcings[:, first:],
    )


class Part(NamedTuple):
    """What one tile reads: frames, and what the network remembered of earlier blocks."""

    inputs: RolloutInputs
    memory: Tensor | None


def roll_group(network: Stated, leads: int, parts: list[Part]) -> tuple[Tensor, Tensor | None]:
    """Roll the windows of some tiles together, as one task does."""
    with torch.inference_mode():
        columns = zip(*(part.inputs for part in parts), strict=True)
        together = RolloutInputs(*(torch.cat(column) for column in columns))
        if not network.reading.carries:
            return _batch_first(network, rollout(network, together, leads=leads)), None
        known = [part.memory for part in parts if part.memory is not None]
        memory = torch.cat(known) if known else None
        frames, kept = rollout_stateful(network, together, leads=leads, memory=memory)
        return _batch_first(network, frames), kept.clone()


def _batch_first(network: Stated, rolled: Tensor) -> Tensor:
    """Bring the samples before their quantiles (b, ..., leads, y, x)."""
    return rolled.movedim(0, 1).clone() if network.reading.quantiles else rolled.clone()


def roll_cut(
    network: Stated, inputs: RolloutInputs, leads: int, how: Cut, executor: Executor
) -> Tensor:
    """Roll out block by block and tile by tile, each tile reading only what is stated."""
    reading, reach, shape = network.reading, network.reach, tuple(inputs.domain.shape[1:])
    block = -(-how.block // reading.emits) * reading.emits
    halo = reach.radius(min(block, leads))
    tiles = plan_tiles((shape[0], shape[1]), core=how.core, halo=halo, stride=reach.stride)
    of_each = (len(reading.quantiles),) if reading.quantiles else ()
    rolled, memory = inputs.target.new_zeros(1, *of_each, 0, *shape), None
    for first in range(0, leads, block):
        n = min(block, leads - first)
        fed = rolled[:, reading.median_index] if reading.quantiles else rolled
        seen = block_inputs(reading, inputs, fed, first)
        groups = [tiles[i : i + how.batch] for i in range(0, len(tiles), how.batch)]
        parts = [[_part(seen, memory, tile) for tile in group] for group in groups]
        given_back = list(executor.map(partial(roll_group, network, n), parts))
        frames, memories = zip(*given_back, strict=True)
        rolled = torch.cat([rolled, _stitch(groups, frames, shape)], dim=-3)
        memory = None if memories[0] is None else _stitch(groups, memories, shape)
    return rolled


def _stitch(groups: list[list[Tile]], parts: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
    whole = parts[0].new_full((1, *parts[0].shape[1:-2], *shape), torch.nan)
    for group, given_back in zip(groups, parts, strict=True):
        for tile, part in zip(group, given_back, strict=True):
            whole[0][..., *tile.owns.slices] = part[..., *tile.crop.slices]
    return whole


def _part(inputs: RolloutInputs, memory: Tensor | None, tile: Tile) -> Part:
    """Copy what a tile reads, so that nothing else is sent to a worker."""
    seen = RolloutInputs(*(part.contiguous() for part in cut(inputs, tile.reads)))
    return Part(seen, None if memory is None else memory[..., *tile.reads.slices].contiguous())


@pytest.mark.slow
@given(kind=kinds(), shape=sides, how=cuts, leads=st.integers(2, 7), seed=st.integers(0, 999))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_cut_changes_a_forecast(
    spreads: list[Executor],
    kind: Built,
    shape: tuple[int, int],
    how: Cut,
    leads: int,
    seed: int,
) -> None:
    network = kind.network(seed)
    assert isinstance(network, nn.Module)
    gaps = [0.0, 0.2, 0.9][seed % 3]
    inputs = make_inputs(network.reading, shape, leads=leads, seed=seed, gaps=gaps)
    with torch.inference_mode():
        whole = _batch_first(network, rollout(network, inputs, leads=leads))
    assert whole[..., -1, :, :].std() > 1e-3
    event(f"blocks: {-(-leads // how.block)}, workers: {how.workers}")
    found = roll_cut(network, inputs, leads, how, spreads[how.workers])
    assert float((found - whole).abs().max()) < EXACT


def test_a_block_that_reads_one_pixel_too_little_is_seen(spreads: list[Executor]) -> None:
    network = Built(make_convlstm, {"history": 3, "layers": 2}).network()
    inputs = make_inputs(network.reading, (31, 151), leads=4)
    with torch.inference_mode():
        whole = rollout(network, inputs, leads=4)
    exact = roll_cut(network, inputs, 4, Cut(29, 2, 1, 0), spreads[0])
    short = roll_cut(_Short(network), inputs, 4, Cut(29, 2, 1, 0), spreads[0])
    assert float((exact - whole).abs().max()) < EXACT
    assert float((short - whole).abs().max()) > 1e-12


class _Short(nn.Module):
    """A network that says it looks one pixel less far than it does."""

    def __init__(self, network: Stated) -> None:
        super().__init__()
        self.network, self.reading = network, network.reading

    def forward(self, frames: Tensor) -> Tensor:
        return self.network(frames)

    @property
    def reach(self) -> Reach:
        reach = self.network.reach
        return replace(reach, first_px=reach.first_px - 1)
