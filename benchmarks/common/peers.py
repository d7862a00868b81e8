"""How others load patches: xbatcher and torch's DataLoader, or one ``isel`` for each patch."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path

import torch
import xarray as xr
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.common.measure import stopwatch

PEER = "xbatcher" if find_spec("xbatcher") else "one isel a patch"

_DIMS = ("time", "y", "x")
_SECONDS = 5.0  # they are stopped after so long; their rate is steady


class OneIsel(Dataset[Tensor]):
    """What xbatcher does for a patch, without xbatcher: one ``isel``, loaded."""

    def __init__(self, array: xr.DataArray, edges: tuple[int, int, int]) -> None:
        self._array = array
        self._edges = edges
        self._frames, self._rows, self._cols = (
            length // edge for length, edge in zip(array.shape, edges, strict=True)
        )

    def __len__(self) -> int:
        return self._frames * self._rows * self._cols

    def __getitem__(self, index: int) -> Tensor:
        rest, col = divmod(index, self._cols)
        frame, row = divmod(rest, self._rows)
        starts = zip(_DIMS, (frame, row, col), self._edges, strict=True)
        slices = {dim: slice(n * edge, (n + 1) * edge) for dim, n, edge in starts}
        return torch.tensor(self._array.isel(slices).values)


def load_patches(
    cube: Path, variable: str, edges: tuple[int, int, int], *, batch: int, n_workers: int
) -> float:
    """Load shuffled batches for a while; return patches per second.

    Worker processes have started, and sent their first batch, before the clock starts.
    """
    array = xr.open_zarr(cube, chunks=None)[variable]
    if find_spec("xbatcher"):
        sizes = dict(zip(_DIMS, edges, strict=True))
        generator = importlib.import_module("xbatcher").BatchGenerator(
            array, sizes, preload_batch=False
        )
        dataset = importlib.import_module("xbatcher.loaders.torch").MapDataset(generator)
    else:
        dataset = OneIsel(array, edges)
    loader = DataLoader(
        dataset,
        batch_size=batch,
        shuffle=True,
        num_workers=n_workers,
        multiprocessing_context="spawn" if n_workers else None,
    )
    batches = iter(loader)
    n = 0
    next(batches)
    with stopwatch() as spent:
        for loaded in batches:
            n += len(loaded)
            if spent() > _SECONDS:
                break
    return n / spent()
