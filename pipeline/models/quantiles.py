"""Quantiles as outputs of a network: one channel each, and none crosses another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import NormalDist

import torch
from torch import Tensor
from torch.nn.functional import softplus

MEDIAN = 0.5


def median_index(quantiles: Sequence[float]) -> int:
    """Return the index of the median among quantiles that rise; 0 where there are none.

    Raises:
        ValueError: they do not rise, or there is no median to feed back.
    """
    if not quantiles:
        return 0
    rise = all(lower < upper for lower, upper in pairwise([0.0, *quantiles, 1.0]))
    if not rise or MEDIAN not in quantiles:
        raise ValueError(
            f"quantiles={list(quantiles)} do not rise between 0 and 1 or lack 0.5, so there is "
            "no median that could be fed back; sort them and name 0.5"
        )
    return list(quantiles).index(MEDIAN)


def enforce_order(outputs: Tensor, median: int) -> Tensor:
    """Compute outputs (b, q, y, x) that rise with the quantile from those of a network.

    The median stays as it is; from it every further quantile is a positive step away, upwards
    and downwards, so quantiles cannot cross, whatever the weights are.

    Args:
        outputs: one channel a quantile, the lowest first.
        median: which of them is the median.
    """
    below, center, above = outputs.tensor_split([median, median + 1], dim=1)
    down = softplus(below.flip(1)).cumsum(dim=1).flip(1)
    up = softplus(above).cumsum(dim=1)
    return torch.cat([center - down, center, center + up], dim=1)


def initial_bias(quantiles: Sequence[float]) -> Tensor:
    """Compute the outputs (q,) whose quantiles are those of a standard normal distribution.

    A network that starts with them forecasts what is usual, with its usual spread: its space
    has mean 0 and variance 1.
    """
    median = median_index(quantiles)
    usual = [NormalDist().inv_cdf(quantile) for quantile in quantiles]
    steps = [_inverse_softplus(upper - lower) for lower, upper in pairwise(usual)]
    return torch.tensor([*steps[:median], 0.0, *steps[median:]])


def _inverse_softplus(step: float) -> float:
    return step + math.log(-math.expm1(-step))
