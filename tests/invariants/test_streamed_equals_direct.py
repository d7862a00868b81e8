"""Batches are those of a direct read, however chunks, memory, workers and blocks are cut."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from torch import Tensor

from flows.runtime import open_executor
from pipeline.executors import Executor, SerialExecutor, ThreadExecutor
from pipeline.recipes import ComputeRecipe, load_recipe
from pipeline.specs import build_fit_spec, build_training_spec
from pipeline.streams import dataset
from pipeline.streams.batch import Batch
from pipeline.streams.batch_reader import BatchReader
from pipeline.streams.dataset import BatchDataset
from pipeline.streams.loader import make_loader
from pipeline.streams.patch_plan import PatchPlan
from pipeline.streams.samples import Sample
from pipeline.streams.source import Source
from pipeline.streams.statistics import fit_stack
from pipeline.tiling.patches import PatchConstraint
from pipeline.training.training_plan import plan_training
from stores.cube import Cube
from stores.windows import Window
from tests.make import (
    ingest,
    make_archive,
    make_recipe,
    make_tiffs,
    write_tiff,
)
from tests.make_streams import (
    SPAN,
    Made,
    arrays,
    assert_same,
    cut_small,
    make_source,
    on_device,
    remember_reads,
    stream,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_source(tmp_path_factory.mktemp("made"), (5, 8, 7))


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_small(monkeypatch)


@pytest.mark.parametrize(
    "chunk",
    [
        None,
        pytest.param((1, 8, 8), marks=pytest.mark.slow),  # many files; the others cut them too
        (4, 23, 5),
    ],
)
def test_streamed_batches_are_those_of_a_direct_read_in_any_layout(
    tmp_path: Path, chunk: tuple[int, int, int] | None
) -> None:
    made = make_source(tmp_path, chunk)
    batches = stream(made, SerialExecutor())
    found = arrays(batches)
    assert batches.mode == "streamed"
    valid = np.concatenate([batch[1] for batch in found])
    assert valid.any()
    assert not valid.all()
    assert all(np.any(batch[2]) for batch in found)
    assert_same(found, batches)


def test_annual_maps_of_other_years_are_streamed_too(tmp_path: Path) -> None:
    trees = np.arange(23 * 31, dtype=np.float32).reshape(23, 31)
    for name, years in {"trees": range(2000, 2005), "roads": range(1999, 2006)}.items():
        for year in years:
            write_tiff(tmp_path / "archive" / f"{name}_{year}.tif", trees + year)
    make_archive(tmp_path / "archive")
    files = {name: f"{name}_{{time:%Y}}.tif" for name in ("trees", "roads")}
    path = make_recipe(
        tmp_path,
        archive={"variables": {n: {"files": f, "units": "1"} for n, f in files.items()}},
        covariates=[{"kind": "annual", "variable": n} for n in files],
        training={"patch_px": 9},
    )
    recipe, cube = load_recipe(path), tmp_path / "run" / "cube.zarr"
    ingest(recipe, cube)
    assert Cube.open(cube).frame_indices("trees") == [1, 2, 3, 4, 5]
    stack = fit_stack(build_fit_spec(recipe), cube, tmp_path / "fields.zarr", SerialExecutor())
    source = Source(cube, tmp_path / "fields.zarr", stack)
    made = Made(recipe, source, list(plan_training(build_training_spec(recipe), source).train))
    for batches in (
        stream(made, SerialExecutor(), per_epoch=45),
        on_device(made, per_epoch=45),
    ):
        assert_same(arrays(batches), batches)


DATED = {"ended": ("2000-01", 30), "begun": ("2000-09", 87), "unread": ("2000-01", 96)}
POLICIES = {"ended": ("climatology", 0), "begun": ("persist", 2), "unread": ("climatology", 3)}


def test_covariates_that_begin_and_end_at_dates_of_their_own_are_streamed_too(
    tmp_path: Path,
) -> None:
    archive, variables = make_archive(tmp_path / "archive"), {}
    for name, (start, n) in DATED.items():
        files = f"{name}/{{time:%Y.%m}}.tif"
        make_tiffs(archive, n=n, start=start, files=files, seed=2)
        variables[name] = {"files": files, "units": "1"}
    covariates = [
        {"kind": "step", "variable": name, "future": future, "delay": delay}
        | {"transform": ["anomaly", "zscore"]}
        for name, (future, delay) in POLICIES.items()
    ]
    path = make_recipe(
        tmp_path,
        archive={"variables": variables},
        covariates=covariates,
        training={"patch_px": 9},
    )
    recipe, cube = load_recipe(path), tmp_path / "run" / "cube.zarr"
    ingest(recipe, cube)
    stack = fit_stack(build_fit_spec(recipe), cube, tmp_path / "fields.zarr", SerialExecutor())
    source = Source(cube, tmp_path / "fields.zarr", stack)
    made = Made(recipe, source, list(plan_training(build_training_spec(recipe), source).train))
    inits = sorted({sample.init for sample in made.samples})
    assert [str(init)[:7] for init in inits[:: len(inits) - 1]] == ["2000-11", "2004-10"]
    for batches in (
        stream(made, SerialExecutor(), per_epoch=45),
        on_device(made, per_epoch=45),
    ):
        found = arrays(batches)
        ended, begun, unread = np.concatenate([batch[2] for batch in found]).swapaxes(0, 2)[:3]
        assert ended.any()
        assert begun.any()
        assert not unread.any()
        assert (ended == 0).all(axis=(0, 2, 3)).any()  # after its end
        assert_same(found, batches)


def test_batches_from_memory_are_those_of_the_stream(made: Made) -> None:
    streamed, kept = (
        stream(made, ThreadExecutor(3)),
        stream(made, SerialExecutor(), memory=1 << 30),
    )
    assert (streamed.mode, kept.mode) == ("streamed", "memory")
    assert "1.07 GB may be kept here" in kept.reason
    found = arrays(kept)
    assert_same(found, streamed)
    for one, other in zip(found, arrays(streamed), strict=True):
        for left, right in zip(one, other, strict=True):
            np.testing.assert_array_equal(left, right)
    assert_same(arrays(kept), kept)  # a second epoch reads what the first one kept


@pytest.mark.parametrize("worker_bytes", [1, 1 << 14, 1 << 30])
def test_a_budget_changes_how_often_chunks_are_decoded_and_nothing_else(
    made: Made, worker_bytes: int
) -> None:
    batches = stream(made, SerialExecutor(), worker=worker_bytes, per_epoch=40)
    assert_same(arrays(batches), batches)
    assert batches.plan_batches() == stream(made, SerialExecutor(), per_epoch=40).plan_batches()


@pytest.fixture(scope="module")
def workers() -> Iterator[Executor]:
    compute = ComputeRecipe(workers=2, threads=1, memory_gb=1.5, device="cpu")
    with open_executor(compute) as executor:
        yield executor


def test_workers_change_neither_order_nor_bits(made: Made, workers: Executor) -> None:
    batches = stream(made, workers)
    assert workers.n_workers == 2
    assert "block by block (workers: 2)" in batches.reason
    assert_same(arrays(batches), batches)


@pytest.mark.slow
def test_a_worker_that_is_killed_while_it_reads_changes_no_bit(
    made: Made, workers: Executor
) -> None:
    pids = set(workers.map(pid_of, range(8)))
    batches = stream(made, workers)
    found: list[list[npt.NDArray[np.generic]]] = []
    for batch in batches:
        if not found:
            os.kill(min(pids), signal.SIGKILL)
        found.append([tensor.numpy() for tensor in batch])
    assert_same(found, batches)
    assert min(pids) not in set(workers.map(pid_of, range(8)))


def pid_of(_: int) -> int:
    time.sleep(0.1)  # long enough that both workers get some
    return os.getpid()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    return remember_reads(monkeypatch)


def test_an_epoch_decodes_every_chunk_once(made: Made, reads: list[tuple[object, ...]]) -> None:
    batches = stream(
        made, SerialExecutor(), worker=(1 << 30) + 1
    )  # a size that no other test kept
    assert sum(len(batch[0]) for batch in batches) == 90
    assert len(reads) > 100
    assert len(set(reads)) == len(reads)


def test_a_budget_below_one_sample_does_not_decode_anew_for_every_sample(
    made: Made, reads: list[tuple[object, ...]]
) -> None:
    load = make_loader(made.source, SPAN, worker_bytes=2)
    sample = max(made.samples, key=lambda sample: (sample.window, sample.init))
    load([sample])
    once = len(reads)
    assert once > 10
    load([sample] * 20)
    assert len(reads) == once


def test_what_is_streamed_in_place_is_read_ahead_and_not_by_the_thread_that_learns(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: set[str] = set()
    cut = BatchReader.read_into

    def noted(layers: BatchReader, rows: Sequence[tuple[Batch, Sample]]) -> None:
        readers.add(threading.current_thread().name)
        cut(layers, rows)

    monkeypatch.setattr(BatchReader, "read_into", noted)
    batches = stream(made, SerialExecutor())
    assert "block by block (threads: 1)" in batches.reason
    assert sum(len(batch[0]) for batch in batches) == 90
    assert len(readers) == 1
    assert threading.current_thread().name not in readers


@pytest.mark.parametrize("memory", [0, 1 << 30])
def test_a_resumed_epoch_continues_with_the_very_next_batch(made: Made, memory: int) -> None:
    whole = arrays(stream(made, ThreadExecutor(2), memory=memory))
    resumed = stream(made, ThreadExecutor(2), memory=memory)
    resumed.first_batch = 5
    rest = arrays(resumed)
    assert len(rest) == len(whole) - 5 == len(resumed) - 5
    for one, other in zip(rest, whole[5:], strict=True):
        for left, right in zip(one, other, strict=True):
            np.testing.assert_array_equal(left, right)
    resumed.first_batch = len(whole)
    assert arrays(resumed) == []


def test_moved_patches_and_unshuffled_ones_are_streamed_too(made: Made) -> None:
    cube = made.source.open()
    domain = made.source.domain(Window.from_shape((cube.grid.height, cube.grid.width)))
    moved = stream(
        made, ThreadExecutor(2), jitter_px=4, constraint=PatchConstraint(domain, 0.1)
    )
    assert len({s.window for batch in moved.plan_batches() for s in batch}) > 12
    assert_same(arrays(moved), moved)
    plain = stream(made, SerialExecutor(), seed=None)
    assert_same(arrays(plain), plain)


def test_small_epochs_keep_the_order_that_published_numbers_come_from(made: Made) -> None:
    load = make_loader(made.source, SPAN)
    plan = PatchPlan(tuple(made.samples), seed=4, per_epoch=90)
    batches = BatchDataset(load, plan, batch=7, executor=SerialExecutor())
    batches.epoch = 3
    order = np.random.default_rng([4, 3]).permutation(np.arange(len(made.samples)))[:90]
    planned = [sample for batch in batches.plan_batches() for sample in batch]
    assert planned == [made.samples[index] for index in order]


def test_a_buffer_that_would_fill_the_memory_is_made_smaller(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = stream(made, SerialExecutor(), buffer=90)
    whole = asked.plan_batches()
    monkeypatch.setattr(dataset, "_BUFFER_BYTES", 1 << 17)
    assert asked.plan_batches() != whole


def test_an_abandoned_epoch_leaves_no_thread_behind(made: Made) -> None:
    batches: Iterator[list[Tensor]] = iter(stream(made, ThreadExecutor(2)))
    next(batches)
    assert any(t.name.startswith("cubecast") for t in threading.enumerate())
    batches.close()  # type: ignore[attr-defined]
    assert not any(t.name.startswith("cubecast") for t in threading.enumerate())
