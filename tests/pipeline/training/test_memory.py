from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.memory import WORKER_BASE_BYTES, WorkerPool
from pipeline.models import ConvLSTMSpec
from pipeline.recipes import Recipe, load_recipe
from pipeline.specs import build_training_spec
from pipeline.training import memory
from pipeline.training.memory import plan_memory, training_step_bytes
from tests.make import make_recipe

MIB = 1 << 20
GRID = (75, 224)
WORKERS = WorkerPool(2, 3 * 10**9, WORKER_BASE_BYTES)
# Networks, what they learned from, and what learning took [MiB].
MEASURED = {
    "the sample, in five epochs": (ConvLSTMSpec(8, 12, (8,), head=(8,)), 8 * 48**2, 3, 1, 406),
    "four members": (ConvLSTMSpec(7, 3, (8,), head=(4,)), 4 * 64**2, 2, 4, 233),
    "two layers": (ConvLSTMSpec(7, 3, (16, 16), head=(4,)), 4 * 64**2, 2, 1, 142),
    "wide layers": (ConvLSTMSpec(7, 3, (32, 64), head=(4,)), 2 * 64**2, 2, 1, 155),
}


def with_ranks(folder: Path, ranks: int, batch: int = 8) -> Recipe:
    training = {"batch": batch, "patch_px": 64}
    compute = {"workers": 2, "ranks": ranks}
    return load_recipe(make_recipe(folder, training=training, compute=compute))


@pytest.mark.parametrize("case", MEASURED)
def test_learning_is_planned_for_what_was_measured(case: str) -> None:
    network, n_px, leads, members, measured = MEASURED[case]
    planned = training_step_bytes(network, n_px=n_px, leads=leads, members=members)
    assert measured / 1.1 < planned / MIB < 2.5 * measured


def test_copies_of_the_weights_count() -> None:
    wide = ConvLSTMSpec(8, 2, hidden=(512, 512), head=(8,))
    n_weights = 4 * 512 * 9 * (8 + 3 * 512)  # of the cells alone
    assert training_step_bytes(wide, n_px=16, leads=1, members=1) > 4 * 4 * n_weights


def test_a_rank_is_planned_as_a_trainer_of_its_part(tmp_path: Path) -> None:
    alone = plan_memory(build_training_spec(with_ranks(tmp_path, 1)), GRID, WORKERS)
    two = plan_memory(build_training_spec(with_ranks(tmp_path, 2)), GRID, WORKERS)
    assert (alone.on_workers, two.on_workers) == (False, True)
    assert str(two.trainer).partition(":")[0].endswith("for a rank")
    assert two.trainer.own_bytes == WORKERS.base_bytes
    assert (
        memory._LIBRARY_BYTES
        < two.trainer.task_bytes
        < alone.trainer.task_bytes + memory._LIBRARY_BYTES
    )


def test_ranks_without_the_memory_to_learn_are_refused(tmp_path: Path) -> None:
    small = WorkerPool(2, 10**9, WORKER_BASE_BYTES)
    plan_memory(build_training_spec(with_ranks(tmp_path, 1, batch=64)), GRID, small).check(
        small
    )
    with pytest.raises(ValueError, match=r"learning needs .* set compute\.memory_gb=\d"):
        plan_memory(build_training_spec(with_ranks(tmp_path, 2, batch=64)), GRID, small).check(
            small
        )
