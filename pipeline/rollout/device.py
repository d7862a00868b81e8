"""Where networks run, and how arrays get there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.memory import WorkerPool
from pipeline.registry import look_up
from stores.array_types import AnyArray

# Of a GPU's free memory; the rest is for kernels' workspaces and fragments.
_USABLE_FRACTION = 0.8


def pick_device(requested: str) -> str:
    """Choose where networks run: a GPU where there is one.

    Raises:
        ValueError: a GPU is requested and there is none.
    """
    if requested == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "compute.device='cuda', but torch sees no GPU, so nothing could run there; "
            "set compute.device=cpu, or install torch with CUDA (see README)"
        )
    default = "cuda" if torch.cuda.is_available() else "cpu"
    devices = {"auto": default, "cpu": "cpu", "cuda": "cuda"}
    return look_up(devices, requested, "compute.device")


def limit_to_gpus(workers: WorkerPool, device: str) -> WorkerPool:
    """Return the workers that compute on ``device``: one per GPU, with the memory of one."""
    if device != "cuda":
        return workers
    free, _ = torch.cuda.mem_get_info()
    n_gpus = count_gpus() if workers.gpus is None else workers.gpus
    n_bytes = min(workers.memory_limit_for(int(_USABLE_FRACTION * free)), workers.n_bytes)
    return replace(workers, n_workers=max(1, min(workers.n_workers, n_gpus)), n_bytes=n_bytes)


def count_gpus() -> int:
    """Count the GPUs of this machine, without starting CUDA."""
    return torch.cuda.device_count()


def pinned_tensor(array: AnyArray, device: torch.device) -> Tensor:
    """Return an array (...) as a tensor, in pinned memory for a copy to a GPU."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory() if device.type == "cuda" else tensor


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return a context of bf16 convolutions where requested; sums and memories stay float32."""
    contexts: dict[str, Callable[[], AbstractContextManager[Any]]] = {
        "32": nullcontext,
        "bf16": lambda: torch.autocast(device.type, dtype=torch.bfloat16),
    }
    return look_up(contexts, precision, "rollout.precision")()
