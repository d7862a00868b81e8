"""Build networks: from what a recipe asks, and from what a bundle holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.models.convlstm import ConvLSTM, ConvLSTMSpec
from pipeline.models.exact import check_tile_exact
from pipeline.registry import look_up

_FAMILIES = {"convlstm": ConvLSTMSpec}


def describe_network(shape: ConvLSTMSpec) -> dict[str, Any]:
    """Return what is needed to build a network again, beside its weights."""
    return {"family": "convlstm"} | asdict(shape)


def parse_network_spec(description: Mapping[str, Any]) -> ConvLSTMSpec:
    """Read what ``describe_network`` returned.

    Raises:
        UnknownOptionError: the family or what it is made of is unknown.
    """
    sizes = dict(description)
    family = sizes.pop("family")
    return look_up(_FAMILIES, family, "model.family")(**sizes)


def build_meta_network(shape: ConvLSTMSpec) -> ConvLSTM:
    """Build a network without memory for its weights, for its sizes and its reach."""
    with torch.device("meta"):
        return ConvLSTM(shape)


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
    network = ConvLSTM(parse_network_spec(description))
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
