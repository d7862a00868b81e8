"""Exponential moving average of the weights, which often forecasts better than the last."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

StateDict = dict[str, Tensor]


class EMA:
    """Average the weights of a network over its steps (Polyak and Juditsky 1992).

    Early on the decay is ``(1 + n) / (10 + n)``, so that the random start is soon forgotten.
    Running statistics of batch normalization are taken as they are: they average already.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay = decay
        self._n_steps = 0
        self.weights = copy_weights(network)
        self._averaged = [name for name, _ in network.named_parameters()]

    @property
    def decay(self) -> float:
        """Decay of the last step."""
        return min(self._decay, (1 + self._n_steps) / (10 + self._n_steps))

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Average in the weights after one step."""
        self._n_steps += 1
        decay = self.decay
        current = network.state_dict()
        for name, average in self.weights.items():
            if name in self._averaged:
                average.lerp_(current[name], 1 - decay)
            else:
                average.copy_(current[name])

    @contextmanager
    def applied_to(self, network: nn.Module) -> Iterator[None]:
        """Let the network compute with the average inside the body."""
        trained = copy_weights(network)
        network.load_state_dict(self.weights)
        try:
            yield
        finally:
            network.load_state_dict(trained)

    def state_dict(self) -> dict[str, object]:
        """Return what a checkpoint keeps."""
        return {"n_steps": self._n_steps, "weights": self.weights}

    def load_state_dict(self, n_steps: int, weights: StateDict) -> None:
        """Go on from the state of a checkpoint."""
        self._n_steps = n_steps
        for name, average in self.weights.items():
            average.copy_(weights[name])


def copy_weights(network: nn.Module) -> StateDict:
    """Copy weights and buffers, out of the way of the next step."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
