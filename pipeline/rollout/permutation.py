"""Permutations: what a covariate is replaced by, to see what a forecast loses without it.

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
"""Rows and columns to another pixel of the grid, which wraps around on both axes."""

_OFFSETS = 8  # with a third of the grid in the domain, 4% of its pixels find no match


@dataclass(frozen=True, slots=True)
class PermutedCovariate:
    """Channels that are permuted together."""

    name: str
    group: Literal["history", "forcings", "statics"]
    channels: slice
    """Which of the group's channels; all of the history."""


@dataclass(frozen=True, slots=True)
class Permutation:
    """Where one forecast takes permuted values from."""

    source_init: Time
    """Init of the forecast whose dated channels and history are taken."""
    offsets: tuple[PixelOffset, ...]
    """Where static values are taken from, the first that fits [px]."""


def list_covariates(stack: InputStack) -> list[PermutedCovariate]:
    """List what can be permuted: the target's history, then the covariates in their order."""
    channels = stack.channels
    return [
        PermutedCovariate(HISTORY, "history", slice(None)),
        *_list_group("forcings", channels.forcings),
        *_list_group("statics", channels.statics),
    ]


def _list_group(
    group: Literal["forcings", "statics"], channels: ChannelGroup
) -> Iterator[PermutedCovariate]:
    for covariate, channel_slice in zip(channels.covariates, channels.slices, strict=True):
        yield PermutedCovariate(covariate.name, group, channel_slice)


def plan_permutations(
    inits: Sequence[Time], shape: tuple[int, int], *, repeats: int, seed: int
) -> dict[Time, tuple[Permutation, ...]]:
    """Draw, for each init, the source init and the offsets of every repeat.

    Source inits of one repeat are the inits permuted in one random cycle, so that none is its
    own source. Offsets are uniform over the grid without the one that moves nothing.

    Args:
        inits: forecasts of the part.
        shape: height and width of the grid [px].
        repeats: how often each covariate is permuted.
        seed: of all that is random.

    Raises:
        ValueError: there is one init only, or one repeat.
    """
    _check_enough(inits, repeats)
    permutations: dict[Time, list[Permutation]] = {init: [] for init in inits}
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, repeat])
        cycle = rng.permutation(len(inits))
        sources = dict(zip(cycle.tolist(), np.roll(cycle, 1).tolist(), strict=True))
        for index, init in enumerate(inits):
            permutation = Permutation(inits[sources[index]], _draw_offsets(rng, shape))
            permutations[init].append(permutation)
    return {init: tuple(of_init) for init, of_init in permutations.items()}


def _check_enough(inits: Sequence[Time], repeats: int) -> None:
    if len(inits) < 2:
        dates = ", ".join(str(init.astype("datetime64[D]")) for init in inits) or "none"
        raise ValueError(
            f"the part holds too few forecasts (inits: {dates}), so there is no other to take "
            "covariates from; choose a longer part in the recipe's split, or fewer "
            "rollout.leads"
        )
    if repeats < 2:
        raise ValueError(
            f"repeats={repeats} has no spread, so what helps could not be told from noise; "
            "ask for 2 or more"
        )


def _draw_offsets(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[PixelOffset, ...]:
    flat_offsets = rng.integers(1, max(2, shape[0] * shape[1]), size=_OFFSETS)
    return tuple(divmod(int(offset), shape[1]) for offset in flat_offsets)


def read_permuted(
    forecaster: Forecaster, tile: Tile, request: ForecastRequest, permutation: Permutation
) -> TileInputs:
    """Read the inputs of a tile with everything in them permuted."""
    source_request = replace(request, init=permutation.source_init)
    inputs = forecaster.read(tile, source_request, LeadBlock(0, request.leads))
    statics = read_shifted_statics(forecaster.source, tile.reads, permutation.offsets)
    return inputs._replace(statics=statics)


def replace_channels(
    original: TileInputs, permuted: TileInputs, covariate: PermutedCovariate
) -> TileInputs:
    """Return inputs with one covariate permuted; the other channels and the domain stay."""
    if covariate.group == "history":
        return original._replace(target=permuted.target, valid=permuted.valid)
    channels = covariate.channels
    if covariate.group == "forcings":
        forcings = original.forcings.copy()
        forcings[:, channels] = permuted.forcings[:, channels]
        return original._replace(forcings=forcings)
    statics = original.statics.copy()
    statics[channels] = permuted.statics[channels]
    return original._replace(statics=statics)


def read_shifted_statics(
    source: Source, window: Window, offsets: Sequence[PixelOffset]
) -> Float32Array:
    """Read static channels (s, y, x) as if the whole grid were shifted, wrapping around.

    A shift keeps neighboring pixels together: values shuffled pixel by pixel would be
    noise of a kind that no network saw, and its surprise would count as importance. Pixels of
    the domain take values of the domain, the others those of the others: on an island most
    shifts would put sea on land, which erases a covariate rather than permuting it. So of
    several shifts each pixel takes the first that fits, and the last where none does. What a
    pixel takes follows from its position on the whole grid alone.
    """
    shape = (source.open().grid.height, source.open().grid.width)
    domain = source.domain(window)
    statics = source.statics(window)  # (s, y, x)
    unmatched = np.ones(window.shape, dtype=np.bool_)
    for offset in offsets:
        if not len(statics) or not unmatched.any():
            break
        shifted = read_shifted(source.statics, window, offset, shape)  # (s, y, x)
        statics = np.where(unmatched, shifted, statics)
        unmatched &= domain != read_shifted(source.domain, window, offset, shape)
    return statics


def read_shifted(
    read: Callable[[Window], AnyArray],
    window: Window,
    offset: PixelOffset,
    shape: tuple[int, int],
) -> AnyArray:
    """Read a window (..., y, x) of a grid that wraps around on both axes."""
    rows = _wrapped_spans(window.y0 + offset[0], window.shape[0], shape[0])
    cols = _wrapped_spans(window.x0 + offset[1], window.shape[1], shape[1])
    pieces = [read(Window(*y, *x)) for y, x in product(rows, cols)]
    n = len(cols)
    return np.block([pieces[start : start + n] for start in range(0, len(pieces), n)])


def _wrapped_spans(start: int, size: int, length: int) -> list[tuple[int, int]]:
    """List the spans of one that may cross the end of an axis; none is longer than its axis."""
    first = start % length
    if first + size <= length:
        return [(first, first + size)]
    return [(first, length), (0, first + size - length)]
