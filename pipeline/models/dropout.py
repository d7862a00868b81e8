"""Dropout that stays on when an ensemble is forecast, the same in all tiles of a member."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from pipeline.models.counter_rng import RandomKey, dropout_mask


class MCDropout2d(nn.Dropout2d):
    """``nn.Dropout2d`` in training; at inference it does nothing, unless inside ``mc_dropout``.

    It has no weights, so bundles of networks with either layer are the same.
    """

    keys: tuple[RandomKey, ...] = ()
    """What each sample of the batch is drawn for; none when nothing is dropped."""

    def forward(self, maps: Tensor) -> Tensor:
        """Drop whole maps of (b, c, y, x)."""
        if self.training or not self.keys:
            return super().forward(maps)
        if len(self.keys) != len(maps):
            raise ValueError(
                f"{len(self.keys)} keys are set but the batch holds {len(maps)} samples, so "
                "members would be mixed up; give mc_dropout() one key for each sample"
            )
        factors = dropout_mask(self.p, self.keys, maps.shape[1], device=maps.device)
        return maps * factors.to(maps.dtype)


@contextmanager
def mc_dropout(network: nn.Module, keys: Sequence[RandomKey]) -> Iterator[None]:
    """Let a network drop maps at inference, by the key of each sample of the batch.

    Every dropout layer makes choices of its own: ``RandomKey.channel`` is set to its index. All
    calls within one ``with`` make the same choice; enter it anew with other leads for fresh
    ones.

    Raises:
        ValueError: the network trains, or has nothing that drops.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, MCDropout2d)]
    if not any(layer.p > 0 for layer in layers):
        raise ValueError(
            "the network has no dropout, so all members would be equal; train it with "
            "dropout above 0, or make members in another way"
        )
    if any(layer.training for layer in layers):
        raise ValueError(
            "the network is in training mode, so dropout would differ from call to call; "
            "call eval() first"
        )
    for index, layer in enumerate(layers):
        layer.keys = tuple(key._replace(channel=index) for key in keys)
    try:
        yield
    finally:
        for layer in layers:
            layer.keys = ()
