"""Permutations: what a covariate is exchanged for, to see what a forecast loses without it.

A permutation takes real values from elsewhere; what adds noise to a forecast is a perturbation
(``models.perturb``).

All that is random is planned before anything is read, from the seed, the repeat and the init
alone, so it depends neither on tiles nor on workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np

from pipeline.channels import ChannelGroup
from pipeline.metrics.importance import HISTORY
from pipeline.rollout.forecaster import Forecaster, TileInputs
from pipeline.rollout.request import ForecastRequest
from pipeline.rollout.rollout_plan import LeadBlock
from pipeline.streams.input_stack import InputStack
from pipeline.streams.source import Source
from pipeline.tiling.tiles import Tile
from stores.array_types import AnyArray, Float32Array
from stores.times import Time
from stores.windows import Window

PixelOffset = tuple[int, int]
"""Rows and columns to another place of the grid, which is closed to a ring on both axes."""

_OFFSETS = 8  # with a third of the grid in the domain, 4% of its pixels find no match


@dataclass(frozen=True, slots=True)
class PermutedCovariate:
    """Channels that are exchanged together."""

    name: str
    group: Literal["history", "forcings", "statics"]
    channels: slice
    """Which of the part's channels; all of the history."""


@dataclass(frozen=True, slots=True)
class Permutation:
    """Where one forecast takes foreign values from."""

    source_init: Time
    """Init of the forecast whose dated channels and history are taken."""
    offsets: tuple[PixelOffset, ...]
    """Where static values are taken from, the first that fits [px]."""


def list_covariates(stack: InputStack) -> list[PermutedCovariate]:
    """List what can be exchanged: the target's history, then the covariates in their order."""
    channels = stack.channels
    return [
        PermutedCovariate(HISTORY, "history", slice(None)),
        *_list_part("forcings", channels.forcings),
        *_list_part("statics", channels.statics),
    ]


def _list_part(
    part: Literal["forcings", "statics"], channels: ChannelGroup
) -> Iterator[PermutedCovariate]:
    for covariate, place in zip(channels.covariates, channels.slices, strict=True):
        yield PermutedCovariate(covariate.name, part, place)


def plan_permutations(
    inits: Sequence[Time], shape: tuple[int, int], *, repeats: int, seed: int
) -> dict[Time, tuple[Permutation, ...]]:
    """Draw, for each init, the donor and the offsets of every repeat.

    Donors of one repeat are the inits permuted in one random circle, so that none gives to
    itself. Offsets are uniform over the grid without the one that moves nothing.

    Args:
        inits: forecasts of the part.
        shape: height and width of the grid [px].
        repeats: how often each covariate is permuted.
        seed: of all that is random.

    Raises:
        ValueError: there is one init only, or one repeat.
    """
    _check_enough(inits, repeats)
    exchanges: dict[Time, list[Permutation]] = {init: [] for init in inits}
    for repeat in range(repeats):
        draw = np.random.default_rng([seed, repeat])
        circle = draw.permutation(len(inits))
        donors = dict(zip(circle.tolist(), np.roll(circle, 1).tolist(), strict=True))
        for index, init in enumerate(inits):
            exchange = Permutation(inits[donors[index]], _draw_offsets(draw, shape))
            exchanges[init].append(exchange)
    return {init: tuple(drawn) for init, drawn in exchanges.items()}


def _check_enough(inits: Sequence[Time], repeats: int) -> None:
    if len(inits) < 2:
        held = ", ".join(str(init.astype("datetime64[D]")) for init in inits) or "none"
        raise ValueError(
            f"the part holds too few forecasts (inits: {held}), so there is no other to take "
            "covariates from; choose a longer part in the recipe's split, or fewer "
            "rollout.leads"
        )
    if repeats < 2:
        raise ValueError(
            f"repeats={repeats} has no spread, so what helps could not be told from noise; "
            "ask for 2 or more"
        )


def _draw_offsets(draw: np.random.Generator, shape: tuple[int, int]) -> tuple[PixelOffset, ...]:
    places = draw.integers(1, max(2, shape[0] * shape[1]), size=_OFFSETS)
    return tuple(divmod(int(place), shape[1]) for place in places)


def read_permuted(
    forecaster: Forecaster, tile: Tile, request: ForecastRequest, exchange: Permutation
) -> TileInputs:
    """Read what a tile looks at when everything in it comes from elsewhere."""
    donor = replace(request, init=exchange.source_init)
    parts = forecaster.read(tile, donor, LeadBlock(0, request.leads))
    statics = read_shifted_statics(forecaster.source, tile.reads, exchange.offsets)
    return parts._replace(statics=statics)


def replace_channels(
    own: TileInputs, foreign: TileInputs, covariate: PermutedCovariate
) -> TileInputs:
    """Exchange one covariate for the foreign one; the truth and the domain stay."""
    if covariate.group == "history":
        return own._replace(target=foreign.target, valid=foreign.valid)
    channels = covariate.channels
    if covariate.group == "forcings":
        forcings = own.forcings.copy()
        forcings[:, channels] = foreign.forcings[:, channels]
        return own._replace(forcings=forcings)
    statics = own.statics.copy()
    statics[channels] = foreign.statics[channels]
    return own._replace(statics=statics)


def read_shifted_statics(
    source: Source, window: Window, offsets: Sequence[PixelOffset]
) -> Float32Array:
    """Read static channels (s, y, x) as if the whole grid were moved, closed to a ring.

    A move keeps what lies beside each other together: values shuffled pixel by pixel would be
    noise of a kind that no network saw, and its surprise would count as importance. Pixels of
    the domain take values of the domain, the others those of the others: on an island most
    moves would put sea on land, which erases a covariate rather than permuting it. So of
    several moves each pixel takes the first that fits, and the last where none does. What a
    pixel takes follows from its place on the whole grid alone.
    """
    shape = (source.open().grid.height, source.open().grid.width)
    own = source.domain(window)
    taken, open_still = source.statics(window), np.ones(window.shape, dtype=np.bool_)
    for offset in offsets:
        if not len(taken) or not open_still.any():
            break
        moved = read_shifted(source.statics, window, offset, shape)  # (s, y, x)
        taken = np.where(open_still, moved, taken)
        open_still &= own != read_shifted(source.domain, window, offset, shape)
    return taken


def read_shifted(
    read: Callable[[Window], AnyArray],
    window: Window,
    offset: PixelOffset,
    shape: tuple[int, int],
) -> AnyArray:
    """Read a window (..., y, x) of a grid that is closed to a ring on both axes."""
    rows = _wrapped(window.y0 + offset[0], window.shape[0], shape[0])
    cols = _wrapped(window.x0 + offset[1], window.shape[1], shape[1])
    pieces = [read(Window(*y, *x)) for y, x in product(rows, cols)]
    n = len(cols)
    return np.block([pieces[start : start + n] for start in range(0, len(pieces), n)])


def _wrapped(start: int, size: int, length: int) -> list[tuple[int, int]]:
    """Cut a span that may cross the end of an axis; no span is longer than its axis."""
    start %= length
    if start + size <= length:
        return [(start, start + size)]
    return [(start, length), (0, start + size - length)]
