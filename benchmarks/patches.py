"""Patches per second into the trainer: radar of Finland, 6 frames of 64 px, shuffled.

Measures our stream - normalized, packed with its valid pixels, in shuffled batches of tensors -
against xbatcher with torch's DataLoader, and against the raw limit: threads that read whole
chunks and slice them, and neither shuffle nor normalize nor pack. Two stores hold the same
numbers: chunks of (6, 512, 512), and the layout of our cubes, one frame to a chunk. All files
are in the page cache, so what is measured is decoding and copying.

The default takes a crop from the middle; --full takes all. Without the archive there is nothing
to do. Without xbatcher a map-style dataset stands for it, and is called what it is: one ``isel``
of an xarray.DataArray for each patch.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import torch
import xarray as xr
import zarr
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.common.case import NAME, VARIABLE
from benchmarks.common.measure import (
    MIB,
    build_parser,
    held_bytes,
    in_child,
    median,
    peak_bytes,
    print_setting,
    print_table,
    scratch_folder,
    stopwatch,
    verdict,
)
from benchmarks.large_grid import ARCHIVE, make_radar
from flows.runtime import fix_threads, spread_on
from pipeline.recipes import ComputeRecipe
from pipeline.spread import OnThreads, Spread
from pipeline.streams.dataset import StreamedBatches
from pipeline.streams.fields import FIELDS
from pipeline.streams.patchplan import PatchPlan
from pipeline.streams.read import Source
from pipeline.streams.samples import Sample, Span, batch_loader, load_batch
from pipeline.streams.stack import Series, Stack
from stores.arrays import array_of, commit_group, open_group
from stores.bundle import current_bundle
from stores.windows import Window

FRAMES, SIDE, BATCH = 6, 64, 32
CHUNK = (6, 512, 512)
_EDGES = (FRAMES, SIDE, SIDE)
_CHAIN = {"kind": "zscore", "offset": 40.0, "scale": 40.0}
_BUFFER = 1024  # patches that are shuffled together: a quarter of the default epoch
_PEERS_S = 12.0  # peers are stopped after so long; their rate is steady


@dataclass(frozen=True, slots=True)
class Rate:
    """What one way to patches reached in one run."""

    patches_s: float
    grown_bytes: int
    note: str = ""


def main() -> None:
    """Make both stores, run every way in turns, print rates and ratios."""
    asked = _options()
    if not (asked.archive and asked.archive.is_dir()):
        print(f"no radar archive: give --archive DIR or set {ARCHIVE}; nothing was measured")
        sys.exit(0)
    with scratch_folder(asked.scratch) as root:
        n_patches = in_child(make_stores, root, asked)
        found: dict[tuple[str, str], list[Rate]] = {}
        for _ in range(asked.repeats):
            for store, way in product(STORES, WAYS):
                rate = in_child(WAYS[way], root / store, asked.workers)
                found.setdefault((store, way), []).append(rate)
    print_setting(
        raster=f"{asked.history} frames, crop of {asked.side} px (--full: all)",
        patches=f"{n_patches} of {FRAMES} x {SIDE} x {SIDE} px, batches of {BATCH}",
        workers=f"{asked.workers}, one thread of arithmetic each",
        xbatcher=importlib.import_module("xbatcher").__file__
        if find_spec("xbatcher")
        else "not installed: one isel for each patch stands for it",
    )
    _report(found)


def _options() -> argparse.Namespace:
    parser = build_parser(str(__doc__))
    known = os.environ.get(ARCHIVE)
    parser.add_argument(
        "--archive", type=Path, default=Path(known) if known else None, help=f"or ${ARCHIVE}"
    )
    parser.add_argument("--side", type=int, default=2048, help="of the crop [px]")
    parser.add_argument("--history", type=int, default=24, help="frames that are ingested")
    parser.add_argument("--workers", type=int, default=2, help="of every way that has some")
    parser.add_argument("--repeats", type=int, default=3, help="in turns")
    asked = parser.parse_args()
    asked.leads, asked.hidden = 1, [8]  # of the network that stands beside the cube
    return asked


def make_stores(root: Path, asked: argparse.Namespace) -> int:
    """Ingest the radar, copy it into the other layout, and count the patches of an epoch."""
    make_radar(root / "own", asked)
    shutil.copytree(root / "own", root / "stated")
    cube = root / "stated" / "cube.zarr"
    held = array_of(open_group(cube), VARIABLE)
    values, attributes = np.asarray(held[...]), dict(held.attrs)
    shutil.rmtree(cube / VARIABLE)
    array = zarr.create_array(
        cube / VARIABLE,
        shape=values.shape,
        dtype=values.dtype,
        chunks=tuple(map(min, CHUNK, values.shape)),
        compressors=held.compressors,
        fill_value=np.nan,
        dimension_names=held.metadata.dimension_names,  # type: ignore[union-attr]
        attributes=attributes,
    )
    array[...] = values
    commit_group(cube)
    return len(plan_samples(open_source(root / "stated")))


def open_source(case: Path) -> Source:
    """Open a store as a network without covariates sees it."""
    fields = current_bundle(case / "models", NAME).path / FIELDS
    return Source(case / "cube.zarr", fields, Stack(Series(VARIABLE, (_CHAIN,))))


def plan_samples(source: Source) -> list[Sample]:
    """List patches edge to edge in space and time, as xbatcher cuts them."""
    cube = source.open()
    windows = [
        Window(y, y + SIDE, x, x + SIDE)
        for y in range(0, cube.grid.height - SIDE + 1, SIDE)
        for x in range(0, cube.grid.width - SIDE + 1, SIDE)
    ]
    inits = cube.times[FRAMES - 2 : len(cube.times) - 1 : FRAMES]
    return [Sample(init, window) for init in inits for window in windows]


def stream(case: Path, n_workers: int) -> Rate:
    """Stream from threads of this process."""
    fix_threads(1)
    return _measure_stream(case, OnThreads(n_workers), memory_bytes=0)


def stream_from_processes(case: Path, n_workers: int) -> Rate:
    """Stream from Dask workers."""
    compute = ComputeRecipe(workers=n_workers, threads=1, memory_gb=3, device="cpu")
    with spread_on(compute) as spread:
        list(spread.ordered(_warm, range(2 * n_workers)))
        return _measure_stream(case, spread, memory_bytes=0)


def cut_from_memory(case: Path, n_workers: int) -> Rate:
    """Cut a second epoch from what the first one kept."""
    fix_threads(1)
    return _measure_stream(case, OnThreads(n_workers), memory_bytes=1 << 62)


def _warm(number: int) -> int:
    """Import what a worker needs before the clock starts."""
    return number + FRAMES


def _measure_stream(case: Path, spread: Spread, *, memory_bytes: int) -> Rate:
    source, span = open_source(case), Span(FRAMES - 1, 1)
    plan = PatchPlan(tuple(plan_samples(source)), seed=0, buffer=_BUFFER)
    batches = StreamedBatches(batch_loader(source, span), plan, batch=BATCH, spread=spread)
    batches.memory_bytes = memory_bytes
    if batches.mode == "memory":
        for _ in batches:
            pass
    check_batch(source, span, batches)
    before = held_bytes()
    with stopwatch() as spent:
        n = sum(len(target) for target, *_ in batches)
    assert n == len(plan.samples)
    return Rate(n / spent(), peak_bytes() - before, batches.mode)


def check_batch(source: Source, span: Span, batches: StreamedBatches) -> None:
    """Compare the first batch with what is read directly; speed without it is worth nothing."""
    expected = load_batch(source, span, batches.plan()[0])
    for found, array in zip(next(iter(batches)), expected, strict=True):
        np.testing.assert_array_equal(found.numpy(), array)


class OneIsel(Dataset[Tensor]):
    """What xbatcher does for a patch, without xbatcher: one ``isel``, loaded."""

    def __init__(self, array: xr.DataArray) -> None:
        self._array = array
        _, self._rows, self._cols = (
            length // edge for length, edge in zip(array.shape, _EDGES, strict=True)
        )

    def __len__(self) -> int:
        return self._array.shape[0] // FRAMES * self._rows * self._cols

    def __getitem__(self, index: int) -> Tensor:
        rest, col = divmod(index, self._cols)
        frame, row = divmod(rest, self._rows)
        starts = zip(("time", "y", "x"), (frame, row, col), _EDGES, strict=True)
        part = {dim: slice(n * edge, (n + 1) * edge) for dim, n, edge in starts}
        return torch.tensor(self._array.isel(part).values)


def load_patches(case: Path, n_workers: int) -> Rate:
    """Load patches with torch's DataLoader and xbatcher, or what stands for it."""
    fix_threads(1)
    array = xr.open_zarr(case / "cube.zarr", chunks=None)[VARIABLE]
    if find_spec("xbatcher"):
        generator = importlib.import_module("xbatcher").BatchGenerator(
            array, dict(zip(("time", "y", "x"), _EDGES, strict=True)), preload_batch=False
        )
        dataset = importlib.import_module("xbatcher.loaders.torch").MapDataset(generator)
    else:
        dataset = OneIsel(array)
    loader = DataLoader(
        dataset,
        batch_size=BATCH,
        shuffle=True,
        num_workers=n_workers,
        multiprocessing_context="spawn" if n_workers else None,
    )
    batches, n, before = iter(loader), 0, held_bytes()
    next(batches)  # workers have started by then
    with stopwatch() as spent:
        for batch in batches:
            n += len(batch)
            if spent() > _PEERS_S:
                break
    return Rate(n / spent(), peak_bytes() - before, type(dataset).__module__.split(".")[0])


def load_patches_alone(case: Path, _: int) -> Rate:
    """Do the same without worker processes."""
    return load_patches(case, 0)


def slice_chunks(case: Path, n_workers: int) -> Rate:
    """Read whole chunks on threads and copy the patches out of them: the raw limit."""
    array = zarr.open_array(case / "cube.zarr" / VARIABLE, mode="r")
    boxes = product(*(range(0, n, c) for n, c in zip(array.shape, CHUNK, strict=True)))

    def read(box: tuple[int, ...]) -> int:
        t, y, x = box
        chunk = np.asarray(array[t : t + CHUNK[0], y : y + CHUNK[1], x : x + CHUNK[2]])
        corners = product(range(0, chunk.shape[1], SIDE), range(0, chunk.shape[2], SIDE))
        return len([chunk[:, y : y + SIDE, x : x + SIDE].copy() for y, x in corners])

    before = held_bytes()
    with stopwatch() as spent, ThreadPoolExecutor(n_workers) as pool:
        n = sum(pool.map(read, boxes))
    return Rate(n / spent(), peak_bytes() - before)


STORES = {"stated": "chunks (6, 512, 512)", "own": "chunks (1, 512, 512), our cubes"}
WAYS: dict[str, Callable[[Path, int], Rate]] = {
    "raw limit: threads slice chunks": slice_chunks,
    "ours, streamed from threads": stream,
    "ours, streamed from processes": stream_from_processes,
    "ours, second epoch in memory": cut_from_memory,
    "xbatcher, in this process": load_patches_alone,
    "xbatcher, worker processes": load_patches,
}


def _report(found: dict[tuple[str, str], list[Rate]]) -> None:
    raw, ours, *_ = WAYS
    for store, label in STORES.items():
        rates = {way: median([r.patches_s for r in found[store, way]]) for way in WAYS}
        peer = max(rate for way, rate in rates.items() if way.startswith("xbatcher"))
        rows = [
            [
                way,
                f"{rate:.0f}",
                f"{min(r.patches_s for r in found[store, way]):.0f} to "
                f"{max(r.patches_s for r in found[store, way]):.0f}",
                f"{rate / peer:.1f}",
                f"{rate / rates[raw]:.2f}",
                f"{median([r.grown_bytes for r in found[store, way]]) / MIB:.0f}",
            ]
            for way, rate in rates.items()
        ]
        print(f"{label}; without xbatcher installed, its rows are those of one isel a patch")
        header = ["", "patches/s", "of repeats", "of xbatcher", "of raw", "grown MiB"]
        print_table(header, rows)
        best = max(rates[way] for way in WAYS if "streamed" in way)
        verdict("at least 15 x xbatcher", f"{best / peer:.1f} x", met=best >= 15 * peer)
        share = best / rates[raw]
        verdict("at least 60 % of raw", f"{100 * share:.0f} %", met=share >= 0.6)
        print()


if __name__ == "__main__":
    main()
