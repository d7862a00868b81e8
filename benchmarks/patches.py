"""Patches per second into the trainer: radar of Finland, 6 frames of 64 px, shuffled.

Measures our stream - normalized, packed with its valid pixels, in shuffled batches of tensors -
against xbatcher with torch's DataLoader, and against the raw limit: threads that read whole
chunks and slice them, and neither shuffle nor normalize nor pack. Two stores hold the same
numbers: chunks of (6, 512, 512), and the layout of our cubes, one frame to a chunk. All files
are in the page cache, so what is measured is decoding and copying.

The default takes a crop from the middle; --full takes all. Without the archive there is nothing
to do. Where xbatcher is not installed, a map-style dataset stands for it that does for a patch
what xbatcher does, and is called what it is: one ``isel`` of an xarray.DataArray.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
import zarr

from benchmarks.common.case import NAME, VARIABLE
from benchmarks.common.measure import (
    MIB,
    build_parser,
    held_bytes,
    median,
    peak_bytes,
    print_environment,
    print_table,
    print_target,
    run_in_subprocess,
    scratch_folder,
    stopwatch,
)
from benchmarks.common.peers import PEER, load_patches
from benchmarks.large_grid import ARCHIVE, make_radar
from flows.runtime import configure_malloc, open_executor, set_num_threads
from pipeline.executors import Executor, SerialExecutor, ThreadExecutor
from pipeline.recipes import ComputeRecipe
from pipeline.streams.dataset import BatchDataset
from pipeline.streams.fields import FIELDS
from pipeline.streams.input_stack import InputStack, VariableSpec
from pipeline.streams.loader import make_loader, read_batch_directly
from pipeline.streams.patch_plan import PatchPlan
from pipeline.streams.samples import RolloutSpan, Sample
from pipeline.streams.source import Source
from stores.arrays import commit_group, get_array, open_group
from stores.bundle import open_current_bundle
from stores.windows import Window

FRAMES = 6
SIDE = 64
BATCH = 32
CHUNK = (6, 512, 512)
_EDGES = (FRAMES, SIDE, SIDE)
_CHAIN = {"kind": "zscore", "offset": 40.0, "scale": 40.0}
_BUFFER = 1024  # patches that are shuffled together: a quarter of the default epoch
_CACHED_DIVISOR = 8  # workers keep an eighth of what an epoch reads, so epochs share little


@dataclass(frozen=True, slots=True)
class Rate:
    """What one way to load patches reached in one run."""

    patches_s: float
    grown_bytes: int


def main() -> None:
    """Make both stores, run every way in turns, print rates and ratios."""
    options = _options()
    if not (options.archive and options.archive.is_dir()):
        print(f"no radar archive: give --archive DIR or set {ARCHIVE}; nothing was measured")
        sys.exit(0)
    with scratch_folder(options.scratch) as root:
        n_patches = run_in_subprocess(make_stores, root, options)
        rates: dict[tuple[str, str], list[Rate]] = {}
        for _ in range(options.repeats):
            for store, way in product(STORES, WAYS):
                rate = run_in_subprocess(measure, way, root / store, options.workers)
                rates.setdefault((store, way), []).append(rate)
    print_environment(
        raster=f"{options.history} frames, crop of {options.side} px (--full: all)",
        patches=f"{n_patches} of {FRAMES} x {SIDE} x {SIDE} px, batches of {BATCH}",
        workers=f"{options.workers}, one thread of arithmetic each",
        peer=PEER,
    )
    _report(rates)


def _options() -> argparse.Namespace:
    parser = build_parser(str(__doc__))
    known = os.environ.get(ARCHIVE)
    parser.add_argument(
        "--archive", type=Path, default=Path(known) if known else None, help=f"or ${ARCHIVE}"
    )
    parser.add_argument("--side", type=int, default=2048, help="of the crop [px]")
    parser.add_argument("--history", type=int, default=24, help="frames that are ingested")
    parser.add_argument("--workers", type=int, default=2, help="of every way that has some")
    parser.add_argument("--repeats", type=int, default=1, help="in turns")
    options = parser.parse_args()
    options.leads = 1
    options.hidden = [8]  # of the network that stands beside the cube
    return options


def measure(way: str, case: Path, n_workers: int) -> Rate:
    """Measure one way in this process, which keeps its memory as flows and workers do."""
    set_num_threads(1)
    configure_malloc()
    return WAYS[way](case, n_workers)


def make_stores(root: Path, options: argparse.Namespace) -> int:
    """Ingest the radar, copy it into the other layout, and count the patches of an epoch."""
    make_radar(root / "own", options)
    shutil.copytree(root / "own", root / "stated")
    cube = root / "stated" / "cube.zarr"
    stored = get_array(open_group(cube), VARIABLE)
    values = np.asarray(stored[...])
    attributes = dict(stored.attrs)
    shutil.rmtree(cube / VARIABLE)
    array = zarr.create_array(
        cube / VARIABLE,
        shape=values.shape,
        dtype=values.dtype,
        chunks=tuple(map(min, CHUNK, values.shape)),
        compressors=stored.compressors,
        fill_value=np.nan,
        dimension_names=stored.metadata.dimension_names,  # type: ignore[union-attr]
        attributes=attributes,
    )
    array[...] = values
    commit_group(cube)
    return len(plan_samples(open_source(root / "stated")))


def open_source(case: Path) -> Source:
    """Open a store as a network without covariates sees it."""
    fields = open_current_bundle(case / "models", NAME).path / FIELDS
    return Source(case / "cube.zarr", fields, InputStack(VariableSpec(VARIABLE, (_CHAIN,))))


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
    return _measure_stream(case, ThreadExecutor(n_workers), memory_bytes=0)


def stream_from_processes(case: Path, n_workers: int) -> Rate:
    """Stream from Dask workers."""
    compute = ComputeRecipe(workers=n_workers, threads=1, memory_gb=3, device="cpu")
    with open_executor(compute) as executor:
        return _measure_stream(case, executor, memory_bytes=0)


def cut_from_memory(case: Path, n_workers: int) -> Rate:
    """Cut a second epoch from what the first one kept."""
    return _measure_stream(case, ThreadExecutor(n_workers), memory_bytes=1 << 62)


def cut_on_gpu(case: Path, _: int) -> Rate:
    """Gather a second epoch from what the first one brought to the GPU."""
    return _measure_stream(case, SerialExecutor(), memory_bytes=0, device="cuda")


def _measure_stream(
    case: Path, executor: Executor, *, memory_bytes: int, device: str = "cpu"
) -> Rate:
    """Time the second epoch: the first one touches memory that was never touched before."""
    source = open_source(case)
    span = RolloutSpan(FRAMES - 1, 1)
    plan = PatchPlan(tuple(plan_samples(source)), seed=0, buffer=_BUFFER)
    whole = make_loader(source, span).decoded_bytes(plan.samples)
    load = make_loader(source, span, worker_bytes=whole // _CACHED_DIVISOR)
    batches = BatchDataset(
        load, plan, batch=BATCH, executor=executor, device=torch.device(device)
    )
    batches.memory_bytes = memory_bytes
    for _ in batches:
        pass
    batches.epoch = 1
    before = held_bytes()
    with stopwatch() as spent:
        n = sum(len(target) for target, *_ in batches)
        if device == "cuda":  # it may still be gathering
            torch.cuda.synchronize()
    rate = Rate(n / spent(), peak_bytes() - before)
    check_batch(source, span, batches)
    return rate


def check_batch(source: Source, span: RolloutSpan, batches: BatchDataset) -> None:
    """Compare the first batch with what is read directly; speed without it is worth nothing."""
    expected = read_batch_directly(source, span, batches.plan_batches()[0])
    for tensor, array in zip(next(iter(batches)), expected, strict=True):
        np.testing.assert_array_equal(tensor.cpu().numpy(), array)


def load_as_peers_do(case: Path, n_workers: int) -> Rate:
    """Load patches as others do, in worker processes."""
    before = held_bytes()
    cube = case / "cube.zarr"
    rate = load_patches(cube, VARIABLE, _EDGES, batch=BATCH, n_workers=n_workers)
    return Rate(rate, peak_bytes() - before)


def load_alone(case: Path, _: int) -> Rate:
    """Load patches as others do, in this process."""
    return load_as_peers_do(case, 0)


def slice_chunks(case: Path, n_workers: int) -> Rate:
    """Read whole chunks on threads and copy the patches out of them: the raw limit."""
    array = zarr.open_array(case / "cube.zarr" / VARIABLE, mode="r")
    boxes = list(product(*(range(0, n, c) for n, c in zip(array.shape, CHUNK, strict=True))))

    def read(box: tuple[int, ...]) -> int:
        t, y, x = box
        chunk = np.asarray(array[t : t + CHUNK[0], y : y + CHUNK[1], x : x + CHUNK[2]])
        corners = product(range(0, chunk.shape[1], SIDE), range(0, chunk.shape[2], SIDE))
        return len([chunk[:, y : y + SIDE, x : x + SIDE].copy() for y, x in corners])

    with ThreadPoolExecutor(n_workers) as pool:
        list(pool.map(read, boxes))
        before = held_bytes()
        with stopwatch() as spent:
            n = sum(pool.map(read, boxes))
    return Rate(n / spent(), peak_bytes() - before)


STORES = {"stated": "chunks (6, 512, 512)", "own": "chunks (1, 512, 512), as in our cubes"}
RAW = "raw limit: threads slice chunks"
WAYS: dict[str, Callable[[Path, int], Rate]] = {
    RAW: slice_chunks,
    "ours, streamed from threads": stream,
    "ours, streamed from processes": stream_from_processes,
    "ours, from memory": cut_from_memory,
    f"{PEER}, in this process": load_alone,
    f"{PEER}, worker processes": load_as_peers_do,
}
if torch.cuda.is_available():
    WAYS["ours, from the GPU's memory"] = cut_on_gpu


def _report(results: dict[tuple[str, str], list[Rate]]) -> None:
    for store, label in STORES.items():
        repeats = {way: [rate.patches_s for rate in results[store, way]] for way in WAYS}
        rates = {way: median(values) for way, values in repeats.items()}
        peer = max(rate for way, rate in rates.items() if way.startswith(PEER))
        rows = [
            [
                way,
                f"{rates[way]:.0f}",
                f"{min(repeats[way]):.0f} to {max(repeats[way]):.0f}",
                f"{rates[way] / peer:.1f}",
                f"{rates[way] / rates[RAW]:.2f}",
                f"{median([rate.grown_bytes for rate in results[store, way]]) / MIB:.0f}",
            ]
            for way in WAYS
        ]
        print(label)
        print_table(["", "patches/s", "of repeats", f"of {PEER}", "of raw", "grown MiB"], rows)
        best = max(rates[way] for way in WAYS if "streamed" in way)
        print_target(f"at least 15 x {PEER}", f"{best / peer:.1f} x", met=best >= 15 * peer)
        share = best / rates[RAW]
        print_target("at least 60 % of raw", f"{100 * share:.0f} %", met=share >= 0.6)
        print()


if __name__ == "__main__":
    main()
