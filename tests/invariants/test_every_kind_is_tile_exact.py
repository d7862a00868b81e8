"""One loop, every kind of network: tiles that read what it states equal the whole grid."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.models.roll import RolloutInputs, rollout, rollout_stateful
from pipeline.tiling.tiles import Tile, plan_tiles
from tests.networks import (
    Built,
    DirectHead,
    PixelLSTM,
    Stated,
    UNet,
    WindowCNN,
    cut,
    later,
    make_convlstm,
    make_inputs,
    plan,
    roll_tiles,
    stitch,
)

EXACT = 1e-10

histories = st.integers(1, 4)
primes = st.sampled_from([29, 37, 53, 59, 61])


memories = st.sampled_from(["window", "carried"])
quantiles = st.sampled_from([(0.1, 0.5, 0.9), (0.5, 0.975), (0.05, 0.25, 0.5, 0.75)])
sides, widths = st.tuples(primes, primes), st.sampled_from([3, 5])

SIZES: list[tuple[Callable[..., Stated], dict[str, st.SearchStrategy[object]]]] = [
    (make_convlstm, {"layers": st.integers(1, 2), "kernel": widths}),
    (make_convlstm, {"layers": st.integers(1, 2), "memory": st.just("carried")}),
    (make_convlstm, {"hidden": st.just(17), "memory": memories}),
    (make_convlstm, {"quantiles": quantiles, "memory": memories}),
    (DirectHead, {"emits": st.integers(1, 4), "dilation": st.integers(1, 3)}),
    (UNet, {"strides": st.sampled_from([(2,), (4,), (2, 2)]), "pooled": st.booleans()}),
    (PixelLSTM, {"emits": st.integers(1, 4)}),
    (WindowCNN, {"kernel": widths, "dilation": st.integers(1, 3)}),
]


@st.composite
def kinds(draw: st.DrawFn) -> Built:
    """Draw a kind of network and its sizes."""
    build, sizes = draw(st.sampled_from(SIZES))
    drawn = {name: draw(values) for name, values in sizes.items()}
    return Built(build, {"history": draw(histories)} | drawn)


class Case(NamedTuple):
    """One rollout, whole and in tiles."""

    shape: tuple[int, int]
    core: int
    leads: int
    batch: int
    gaps: float
    seed: int


cases = st.builds(
    Case,
    shape=sides,
    core=st.integers(5, 28),
    leads=st.integers(1, 4),
    batch=st.integers(1, 3),
    gaps=st.sampled_from([0.0, 0.2, 0.9]),
    seed=st.integers(0, 999),
)


def worst(kind: Built, shape: tuple[int, int], *, tiles: list[Tile], leads: int) -> float:
    """Give the largest difference of a tiled forecast from the untiled one."""
    network = kind.network()
    inputs = make_inputs(network.reading, shape, leads=leads)
    with torch.inference_mode():
        whole = rollout(network, inputs, leads=leads)
        return _farthest(roll_tiles(network, inputs, tiles, leads=leads), whole)


def _farthest(stitched: Tensor, whole: Tensor) -> float:
    return float((stitched - whole).abs().max())


@given(kind=kinds(), case=cases)
@settings(max_examples=60)
def test_tiles_of_every_kind_give_the_untiled_forecast(kind: Built, case: Case) -> None:
    network, shape, leads = kind.network(case.seed), case.shape, case.leads
    inputs = make_inputs(
        network.reading, shape, leads=leads, seed=case.seed, batch=case.batch, gaps=case.gaps
    )
    tiles = plan(network, shape, leads=leads, core=case.core)
    event(f"tiles read less than the grid: {tiles[0].reads.shape < shape}")
    with torch.inference_mode():
        whole = rollout(network, inputs, leads=leads)
        stitched = roll_tiles(network, inputs, tiles, leads=leads)
    assert len(tiles) > 1
    assert whole[..., -1, :, :].std() > 1e-3
    assert _farthest(stitched, whole) < EXACT


LOOKING = [
    Built(make_convlstm, {"history": 2, "layers": 2}),
    Built(make_convlstm, {"history": 2, "layers": 2, "memory": "carried"}),
    Built(make_convlstm, {"history": 2, "quantiles": (0.1, 0.5, 0.9)}),
    Built(DirectHead, {"history": 2, "emits": 2, "dilation": 2}),
    Built(UNet, {"history": 1, "strides": (2,), "pooled": True}),
    Built(UNet, {"history": 1, "strides": (2, 2), "pooled": False}),
    Built(WindowCNN, {"history": 2, "kernel": 5}),
]


@pytest.mark.parametrize("kind", LOOKING, ids=repr)
def test_one_pixel_less_halo_shows_a_seam_of_every_kind(kind: Built) -> None:
    # Origins move in steps of the stride, which is one pixel for all but strided networks; a
    # plan that lacks less than a step may round its origins down to what is needed.
    leads, shape, reach = 3, (31, 307), kind.network().reach
    halo, step = reach.radius(leads), reach.stride
    # Only tiles that begin at one phase of the stride need the whole halo.
    exact, short = (
        [plan_tiles(shape, core=core, halo=px, stride=step) for core in range(31, 31 + step)]
        for px in (halo, halo - step)
    )
    assert all(tiles[0].reads.size < shape[0] * shape[1] for tiles in exact)
    assert max(worst(kind, shape, tiles=tiles, leads=leads) for tiles in exact) < EXACT
    assert max(worst(kind, shape, tiles=tiles, leads=leads) for tiles in short) > 1e-12


@pytest.mark.parametrize("strides", [(2,), (4,), (2, 2)])
def test_a_misaligned_origin_shows_a_seam_however_large_the_halo(
    strides: tuple[int, ...],
) -> None:
    kind = Built(UNet, {"history": 1, "strides": strides, "pooled": False})
    shape, reach = (149, 151), kind.network().reach
    assert reach.stride > 1
    halo = reach.radius(1) + reach.stride
    aligned = plan_tiles(shape, core=31, halo=halo, stride=reach.stride)
    astray = plan_tiles(shape, core=31, halo=halo, stride=1)
    assert any(tile.reads.y0 % reach.stride for tile in astray)
    assert worst(kind, shape, tiles=aligned, leads=1) < EXACT
    assert worst(kind, shape, tiles=astray, leads=1) > 1e-3


def test_a_pixel_by_pixel_network_needs_no_halo_at_all() -> None:
    kind = Built(PixelLSTM, {"history": 3, "emits": 2})
    tiles = plan(kind.network(), (29, 31), leads=4, core=11)
    assert all(tile.owns.size <= tile.reads.size == 11 * 11 for tile in tiles)
    assert worst(kind, (29, 31), tiles=tiles, leads=4) < EXACT


def roll_block(
    network: Stated,
    inputs: RolloutInputs,
    tiles: list[Tile],
    *,
    leads: int,
    memory: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Roll a block out tile by tile; put forecasts and memories of what tiles own together."""
    parts = []
    for tile in tiles:
        known = None if memory is None else memory[..., *tile.reads.slices]
        parts.append(
            rollout_stateful(network, cut(inputs, tile.reads), leads=leads, memory=known)
        )
    frames, kept = (
        stitch(list(column), tiles, inputs.domain.shape[1:])
        for column in zip(*parts, strict=True)
    )
    return frames, kept


def worst_of_blocks(kind: Built, case: Case, *, second: int, less_px: int = 0) -> float:
    """Compare blocks that hand tiles' memories over with one untiled rollout.

    ``less_px`` is what the halo of the second block lacks.
    """
    network, first = kind.network(case.seed), case.leads
    inputs = make_inputs(
        network.reading,
        case.shape,
        leads=first + second,
        seed=case.seed,
        batch=case.batch,
        gaps=case.gaps,
    )
    shape = network.shape  # type: ignore[attr-defined]
    per_lead = shape.kernel // 2 * len(shape.hidden) + len(shape.head)
    tiles = plan(network, case.shape, leads=first, core=case.core)
    more = plan_tiles(case.shape, core=case.core, halo=second * per_lead - less_px)
    assert len(tiles) > 1
    assert len(more) > 1
    with torch.inference_mode():
        whole = rollout(network, inputs, leads=first + second)
        assert whole[..., -1, :, :].std() > 1e-3
        frames, memory = roll_block(network, inputs, tiles, leads=first, memory=None)
        after = later(inputs, frames, network.reading)
        going_on, _ = roll_block(network, after, more, leads=second, memory=memory)
    return _farthest(torch.cat([frames, going_on], dim=-3), whole)


@pytest.mark.slow
@given(
    layers=st.integers(1, 2),
    heads=st.integers(0, 2),
    hidden=st.sampled_from([3, 16]),
    history=histories,
    second=st.integers(1, 3),
    quantiles=st.sampled_from([(), (0.1, 0.5, 0.9)]),
    case=cases,
)
@settings(max_examples=25)
def test_tiles_that_hand_their_memory_over_give_the_untiled_forecast(
    second: int, case: Case, **sizes: object
) -> None:
    kind = Built(make_convlstm, {**sizes, "memory": "carried"})
    assert worst_of_blocks(kind, case, second=second) < EXACT


@pytest.mark.parametrize("layers", [1, 2])
def test_one_pixel_less_halo_around_a_memory_shows_a_seam(layers: int) -> None:
    kind = Built(make_convlstm, {"history": 3, "layers": layers, "memory": "carried"})
    case = Case((37, 307), core=31, leads=2, batch=1, gaps=0.0, seed=0)
    assert worst_of_blocks(kind, case, second=3) < EXACT
    assert worst_of_blocks(kind, case, second=3, less_px=1) > 1e-12
