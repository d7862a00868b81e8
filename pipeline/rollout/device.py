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

_USABLE_FRACTION = (
    0.8  # of a GPU's free memory; the rest is for kernels' workspaces and fragments
)


def pick_device(wanted: str) -> str:
    """Choose where networks run: a GPU where there is one.

    Raises:
        ValueError: a GPU is asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "compute.device='cuda', but torch sees no GPU, so nothing could run there; "
            "set compute.device=cpu, or install torch with CUDA (see README)"
        )
    found = {"auto": "cuda" if torch.cuda.is_available() else "cpu"}
    return look_up(found | {"cpu": "cpu", "cuda": "cuda"}, wanted, "compute.device")


def limit_to_gpus(workers: WorkerPool, device: str) -> WorkerPool:
    """Say who computes on ``device``: on GPUs one worker each, with the memory of one."""
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
    """Wrap an array, in pinned memory where it is to be copied to a GPU while that computes."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory() if device.type == "cuda" else tensor


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Compute convolutions in bf16 where it is asked for; sums and memories stay float32."""
    contexts: dict[str, Callable[[], AbstractContextManager[Any]]] = {
        "32": nullcontext,
        "bf16": lambda: torch.autocast(device.type, dtype=torch.bfloat16),
    }
    return look_up(contexts, precision, "rollout.precision")()
