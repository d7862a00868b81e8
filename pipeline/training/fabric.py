"""Where a training computes, alone or as one of several ranks, and in which precision."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from typing import Any

import psutil
import torch
import torch.distributed as dist
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.strategies.ddp import DDPStrategy
from torch._C._distributed_c10d import TCPStore

from pipeline.rank_group import RankContext
from pipeline.training.environment import resolve_precision

# The last resort: the process that started the ranks notices a dead worker within a second.
_TIMEOUT = timedelta(minutes=10)


class RankEnvironment(ClusterEnvironment):
    """The rank, as Lightning asks for it: each is a node of its own, with one device."""

    creates_processes_externally = True

    def __init__(self, rank_context: RankContext) -> None:
        super().__init__()
        self._rank_context = rank_context

    @property
    def main_address(self) -> str:
        """Address of rank 0."""
        return self._rank_context.rendezvous[0]

    @property
    def main_port(self) -> int:
        """Port at which rank 0 waits for the others."""
        return self._rank_context.rendezvous[1]

    @staticmethod
    def detect() -> bool:
        """Detect nothing: a ``RankContext`` names the rank."""
        return False

    def world_size(self) -> int:
        """Return the number of ranks."""
        return self._rank_context.world_size

    def set_world_size(self, size: int) -> None:
        """Ignore it: the ``RankContext`` names it."""

    def global_rank(self) -> int:
        """Return this rank."""
        return self._rank_context.rank

    def set_global_rank(self, rank: int) -> None:
        """Ignore it: the ``RankContext`` names it."""

    def local_rank(self) -> int:
        """Return the rank on this node, where it is alone."""
        return 0

    def node_rank(self) -> int:
        """Return the rank of this node."""
        return self._rank_context.rank


def build_fabric(
    device: str, requested_precision: str, rank_context: RankContext | None = None
) -> Fabric:
    """Build the fabric of device and precision; a ``rank_context`` joins the other ranks."""
    precision: Any = resolve_precision(requested_precision, device)
    accelerator = {"auto": "auto", "cpu": "cpu", "cuda": "gpu"}[device]
    if rank_context is None:
        return Fabric(accelerator=accelerator, devices=1, precision=precision)
    _bind_network_interface(rank_context.host)
    on_gpu = device != "cpu" and torch.cuda.is_available()
    dist.init_process_group(  # before Lightning, whose store listens on all addresses
        "nccl" if on_gpu else "gloo",
        store=_rendezvous_store(rank_context),
        rank=rank_context.rank,
        world_size=rank_context.world_size,
        timeout=_TIMEOUT,
        device_id=torch.device("cuda", 0) if on_gpu else None,
    )
    fabric = Fabric(
        accelerator=accelerator,
        devices=1,
        num_nodes=rank_context.world_size,
        strategy=DDPStrategy(
            cluster_environment=RankEnvironment(rank_context), timeout=_TIMEOUT
        ),
        precision=precision,
    )
    fabric.launch()
    return fabric


def _rendezvous_store(rank_context: RankContext) -> TCPStore:
    """Open the store of the ranks, at the address of rank 0 in the cluster.

    By itself the store listens on all addresses of the machine, and any client may read and
    write. It takes a socket that listens already, unless it is built on libuv.
    """
    host, port = rank_context.rendezvous
    options: dict[str, Any] = {"timeout": _TIMEOUT, "use_libuv": False}
    if rank_context.rank == 0:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
        options |= {"is_master": True, "master_listen_fd": listening.detach()}
    return TCPStore(host, port, rank_context.world_size, **options)


def _bind_network_interface(host: str) -> None:
    """Let the ranks communicate over the network that Dask uses, and over no other."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(address.address == host for address in addresses):
            os.environ.update(GLOO_SOCKET_IFNAME=name, NCCL_SOCKET_IFNAME=name)
