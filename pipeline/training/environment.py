"""Where and in which precision a training computes: what its last bits depend on."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from typing import Any

import torch

from pipeline.registry import look_up
from stores.bundle import Bundle
from stores.formatting import pluralize

PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
"""Precisions of a recipe, as Lightning names them."""


@dataclass(frozen=True, slots=True)
class ComputeEnvironment:
    """What numbers depend on beside recipe, cube, code and libraries."""

    device: str
    """``cpu`` or ``cuda``."""
    name: str
    """Model of the GPU, or instruction set of the processor."""
    precision: str
    """``32-true``, ``bf16-mixed`` or ``16-mixed``; never ``auto``."""
    threads: int
    """Threads of the process that trains."""
    torch: str
    """Version and build of torch."""
    ranks: int = 1

    def __str__(self) -> str:
        threads = pluralize(self.threads, "thread")
        ranks = f", {self.ranks} ranks" if self.ranks > 1 else ""
        device = f"{self.device} ({self.name}), {threads}{ranks}"
        return f"{device}, precision {self.precision}, torch {self.torch}"

    def to_json(self) -> dict[str, Any]:
        """Return it as a bundle keeps it."""
        return asdict(self)


def expected_environment(
    device: str, precision: str, *, threads: int, ranks: int
) -> ComputeEnvironment:
    """Return the environment of a training on this machine, where ``auto`` is resolved.

    Ranks on machines unlike this one compute otherwise; their bundle says how.

    Raises:
        ValueError: this machine cannot compute with that precision.
    """
    return environment_on(
        torch.device("cuda" if _has_cuda(device) else "cpu"),
        resolve_precision(precision, device),
        threads=threads,
        ranks=ranks,
    )


def environment_on(
    device: torch.device, precision: str, *, threads: int, ranks: int
) -> ComputeEnvironment:
    """Return the environment of a computation on a device."""
    version = str(torch.__version__)
    return ComputeEnvironment(device.type, _name_of(device), precision, threads, version, ranks)


def describe_environment(bundle: Bundle) -> str:
    """Describe in which environments a bundle was computed."""
    environments = bundle.description["training"]["arithmetic"]
    return ", then ".join(str(ComputeEnvironment(**values)) for values in environments)


def resolve_precision(requested: str, device: str) -> str:
    """Choose Lightning's precision: bf16 where the device computes it fast.

    Raises:
        ValueError: the device cannot compute with that precision.
    """
    if requested == "16" and not _has_cuda(device):
        raise ValueError(
            f"training.precision=16 needs a CUDA device but compute.device={device} gives "
            "none, so its scaler of gradients would do nothing; take bf16, or auto"
        )
    has_bf16 = _has_cuda(device) and torch.cuda.is_bf16_supported()
    auto = {"auto": PRECISIONS["bf16" if has_bf16 else "32"]}
    return look_up(auto | PRECISIONS, requested, "training.precision")


def _has_cuda(device: str) -> bool:
    return device != "cpu" and torch.cuda.is_available()


def _name_of(device: torch.device) -> str:
    """Name what torch chooses its kernels by; never the host."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
