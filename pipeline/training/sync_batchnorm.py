"""Batch normalization over the samples of all ranks."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class SyncBatchNorm2d(nn.BatchNorm2d):
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
        count = values.new_tensor([values.numel() / values.shape[1]])
        sums: Tensor = _all_reduce(torch.cat([values.sum(dim=(0, 2, 3)), count]))  # (c + 1,)
        n: Tensor = sums[-1]
        mean = sums[:-1] / n  # (c,)
        centered = values - mean[:, None, None]
        variance = _all_reduce(centered.square().sum(dim=(0, 2, 3))) / n  # (c,)
        self._update_running_stats(
            mean.detach(), (variance * n / (n - 1).clamp(min=1)).detach()
        )
        scale = self.weight / torch.sqrt(variance + self.eps)
        return (centered * scale[:, None, None] + self.bias[:, None, None]).to(maps.dtype)

    @torch.no_grad()
    def _update_running_stats(self, mean: Tensor, variance: Tensor) -> None:
        """Update the running statistics (c,), as ``nn.BatchNorm2d`` does."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def convert_sync_batchnorm(network: nn.Module) -> None:
    """Replace every batch normalization by one over all ranks, with the same weights."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.BatchNorm2d:
                setattr(module, name, _convert(child))


def _convert(norm: nn.BatchNorm2d) -> SyncBatchNorm2d:
    converted = SyncBatchNorm2d(norm.num_features, norm.eps, norm.momentum)
    converted.load_state_dict(norm.state_dict())
    return converted


def _all_reduce(values: Tensor) -> Tensor:
    total: Tensor = _AllReduce.apply(values)  # type: ignore[no-untyped-call]  # torch's
    return total


class _AllReduce(torch.autograd.Function):
    """Add up over the ranks; what follows depends on each part alike, so gradients add up."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        return _all_reduce_copy(values)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return _all_reduce_copy(gradient)


def _all_reduce_copy(values: Tensor) -> Tensor:
    total = values.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total
