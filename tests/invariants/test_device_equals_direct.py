"""Batches that are gathered on a device are those of a direct read."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.executors import SerialExecutor
from pipeline.specs import build_training_spec
from pipeline.streams.dataset import BatchDataset
from pipeline.streams.device_reader import DeviceBatchReader
from pipeline.streams.input_stack import InputStack
from pipeline.streams.loader import make_loader
from pipeline.tiling.patches import PatchConstraint
from pipeline.training.train import TrainingResult, train_model
from stores.windows import Window
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


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    return remember_reads(monkeypatch)


def test_batches_cut_on_a_device_are_those_of_a_direct_read(made: Made) -> None:
    batches = on_device(made)
    assert batches.mode == "device"
    assert "may be kept on cpu" in batches.reason
    found = arrays(batches)
    valid = np.concatenate([batch[1] for batch in found])
    assert valid.any()
    assert not valid.all()
    assert_same(found, batches)


def test_a_device_needs_what_it_was_planned_to_hold_and_refuses_one_byte_less(
    made: Made,
) -> None:
    batches = on_device(made)
    there = DeviceBatchReader(
        make_loader(made.source, SPAN).open_reader(0), made.samples, torch.device("cpu")
    )
    held = there._arrays
    tensors = [*held.frames.values(), held.valid, held.statics, held.domain]
    assert there.n_bytes == sum(tensor.nbytes for tensor in tensors)
    batches.device_bytes = there.n_bytes - 1
    assert batches.mode == "streamed"
    assert "may be kept on cpu; all samples take" in batches.reason


def test_moved_patches_are_cut_on_a_device_too(made: Made) -> None:
    cube = made.source.open()
    domain = made.source.domain(Window.from_shape((cube.grid.height, cube.grid.width)))
    moved = on_device(made, per_epoch=40, jitter_px=4, constraint=PatchConstraint(domain, 0.1))
    assert len({s.window for batch in moved.plan_batches() for s in batch}) > 12
    assert_same(arrays(moved), moved)


def test_a_stack_without_covariates_is_cut_on_a_device_too(made: Made) -> None:
    bare = replace(made.source, stack=InputStack(made.source.stack.target))
    batches = on_device(made._replace(source=bare), per_epoch=14)
    found = arrays(batches)
    assert found[0][2].shape[2] == found[0][3].shape[1] == 0
    assert_same(found, batches)


def test_loading_for_a_device_reads_every_chunk_once_and_keeps_none(
    made: Made, reads: list[tuple[object, ...]]
) -> None:
    layers = make_loader(made.source, SPAN, samples=made.samples).open_reader(0)
    there = DeviceBatchReader(layers, made.samples, torch.device("cpu"))
    assert not reads
    there.read_batch(made.samples[:3])
    assert len(reads) > 20
    assert len(set(reads)) == len(reads)
    assert layers.cache.cached_bytes <= 8 * 7 * 4 * 5


@pytest.mark.gpu
def test_batches_cut_on_a_gpu_are_there_and_equal_a_direct_read(made: Made) -> None:
    batches = stream(made, SerialExecutor(), device="cuda")
    assert batches.mode == "device"
    assert all(tensor.is_cuda for batch in batches for tensor in batch)
    assert_same(arrays(batches), batches)


def test_a_training_from_the_device_gives_the_weights_of_one_from_memory(
    made: Made,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    once = made.recipe.training.replace(epochs=1, patches_per_epoch=40)
    recipe = made.recipe.replace(training=once)

    def train(name: str) -> TrainingResult:
        return train_model(
            build_training_spec(recipe), made.source, tmp_path / name, executor=SerialExecutor()
        )

    caplog.set_level("INFO", "pipeline")
    memory = train("memory")
    assert "patches are read from memory" in caplog.text
    monkeypatch.setattr(BatchDataset, "device_bytes", 1 << 30)
    device = train("device")
    assert "patches are gathered on the device that trains" in caplog.text
    assert any(weight.any() for weight in memory.weights.values())
    for name, weight in memory.weights.items():
        np.testing.assert_array_equal(device.weights[name], weight, err_msg=name)
