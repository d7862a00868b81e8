"""Batch normalization over the samples of all ranks."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as group
from torch import Tensor, nn


class RanksBatchNorm(nn.BatchNorm2d):
    """``nn.BatchNorm2d`` whose batch is that of all ranks together.

    Mean and variance are those of all samples, so that two ranks learn what one would with
    the whole batch; a rank without a sample takes part. Weights and running statistics have
    the names and values of ``nn.BatchNorm2d``. ``nn.SyncBatchNorm`` does the same on CUDA
    alone; this one runs wherever the ranks can add, so that what is tested is what runs.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Normalize maps (b, c, y, x)."""
        if not self.training:
            return super().forward(maps)
        values = maps.float()  # statistics of half precision would be too coarse
        own = values.new_tensor([values.numel() / values.shape[1]])
        sums: Tensor = _total(torch.cat([values.sum(dim=(0, 2, 3)), own]))  # (c + 1,)
        n: Tensor = sums[-1]
        mean = sums[:-1] / n  # (c,)
        apart = values - mean[:, None, None]
        variance = _total(apart.square().sum(dim=(0, 2, 3))) / n  # (c,)
        self._note(mean.detach(), (variance * n / (n - 1).clamp(min=1)).detach())
        scale = self.weight / torch.sqrt(variance + self.eps)
        return (apart * scale[:, None, None] + self.bias[:, None, None]).to(maps.dtype)

    @torch.no_grad()
    def _note(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, as the layer does that stands for this one later."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def norm_over_ranks(network: nn.Module) -> None:
    """Replace every batch normalization by one over all ranks, with the same weights."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.BatchNorm2d:
                setattr(module, name, _over_ranks(child))


def _over_ranks(norm: nn.BatchNorm2d) -> RanksBatchNorm:
    other = RanksBatchNorm(norm.num_features, norm.eps, norm.momentum)
    other.load_state_dict(norm.state_dict())
    return other


def _total(values: Tensor) -> Tensor:
    total: Tensor = _Total.apply(values)  # type: ignore[no-untyped-call]  # torch's
    return total


class _Total(torch.autograd.Function):
    """Add up over the ranks; what follows depends on each part alike, so gradients add up."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        return _summed(values)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return _summed(gradient)


def _summed(values: Tensor) -> Tensor:
    total = values.clone(memory_format=torch.contiguous_format)
    group.all_reduce(total)
    return total
