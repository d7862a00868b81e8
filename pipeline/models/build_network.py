"""Build networks: from what a recipe asks, and from what a bundle holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from pipeline.models.convlstm import ConvLSTM, ConvLSTMSpec
from pipeline.models.exact import check_tile_exact
from pipeline.registry import look_up


class Family(NamedTuple):
    """A kind of network: what its sizes are called, and how it is built from them."""

    spec: Callable[..., ConvLSTMSpec]
    """Dataclass of its sizes."""
    network: Callable[[ConvLSTMSpec], ConvLSTM]
    """Called with an instance of ``spec``."""


FAMILIES: dict[str, Family] = {"convlstm": Family(ConvLSTMSpec, ConvLSTM)}
"""Every family by its name in recipes (``model.family``) and bundles."""


def describe_network(shape: ConvLSTMSpec) -> dict[str, Any]:
    """Return what is needed to build a network again, beside its weights."""
    return {"family": _family_of(shape)} | asdict(shape)


def parse_network_spec(description: Mapping[str, Any]) -> ConvLSTMSpec:
    """Read what ``describe_network`` returned.

    Raises:
        UnknownOptionError: the family or what it is made of is unknown.
    """
    sizes = dict(description)
    family = sizes.pop("family")
    return look_up(FAMILIES, family, "model.family").spec(**sizes)


def build_untrained_network(shape: ConvLSTMSpec) -> ConvLSTM:
    """Build the network of a family with the weights that training begins with."""
    return FAMILIES[_family_of(shape)].network(shape)


def build_meta_network(shape: ConvLSTMSpec) -> ConvLSTM:
    """Build a network without memory for its weights, for its sizes and its reach."""
    with torch.device("meta"):
        return build_untrained_network(shape)


def build_network(
    description: Mapping[str, Any],
    weights: Mapping[str, npt.NDArray[Any]],
    *,
    exact: bool = True,
) -> ConvLSTM:
    """Build the network of a bundle, ready to forecast.

    Args:
        description: what ``describe_network`` returned.
        weights: by name, each of the shape that its layer has.
        exact: whether tiles have to equal the untiled forecast.

    Raises:
        ValueError: the family is unknown, the weights belong to another network, or a layer
            couples far pixels, so that tiles would disagree.
    """
    network = build_untrained_network(parse_network_spec(description))
    tensors = {name: torch.from_numpy(np.array(weight)) for name, weight in weights.items()}
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(
            f"the weights do not fit the network that the bundle describes ({error}), so it "
            "would forecast noise; train again"
        ) from None
    network.eval()
    if exact:
        check_tile_exact(network)
    return network


def _family_of(shape: ConvLSTMSpec) -> str:
    """Return the family whose sizes these are."""
    return next(name for name, family in FAMILIES.items() if type(shape) is family.spec)
