"""Steps from a cube to a bundle."""

from __future__ import annotations

from contextlib import AbstractContextManager

from flows.artifacts import ProgressArtifact, create_image
from flows.console import progress_bar
from flows.paths import cube_path, models_path, training_path
from flows.steps.disk_space import training_space
from flows.steps.memory import measure_memory
from flows.steps.step import step
from flows.workers import resolve_workers
from pipeline.executors import Executor
from pipeline.recipes import Recipe, resolve_dates
from pipeline.rollout.device import pick_device
from pipeline.specs import build_training_spec
from pipeline.training.bundle import CURVES, PARTS_MAP, train_bundle
from pipeline.training.memory import TrainingMemory, plan_memory
from stores.bundle import Bundle
from stores.cube import Cube


@step
def train_model(recipe: Recipe, executor: Executor, label: str = "") -> Bundle:
    """Fit, train and publish; curves stay in ``training/`` below the root.

    Killed and started again, it goes on from the state that it keeps there. With a label it is
    one of several, whose bundle does not become the current one.
    """
    folders = models_path(recipe), training_path(recipe, label)
    page = ProgressArtifact("training", f"Epochs of {recipe.name} {label}".strip())
    workers = resolve_workers(recipe.compute)
    cube = Cube.open(cube_path(recipe))
    dated = resolve_dates(recipe, cube.step_times(recipe.target.variable)[-1])
    spec = build_training_spec(dated)
    memory = plan_memory(spec, (cube.grid.height, cube.grid.width), workers)
    memory.check(workers)
    if recipe.compute.scheduler is None:
        pick_device(recipe.compute.device)  # refuses before hours of reading
    for need in training_space(spec.network, *folders):
        need.check()
    with (
        _measuring(memory, executor),
        progress_bar("training") as bar,
    ):

        def report(done: float, total: float, note: str = "") -> None:
            bar(done, total, note)
            page.update(done, total, note)

        return train_bundle(
            spec, cube, folders, executor=executor, on_progress=report, aside=bool(label)
        )


def _measuring(memory: TrainingMemory, executor: Executor) -> AbstractContextManager[None]:
    """Measure who learns: ranks, which are workers, or this process beside its readers."""
    if memory.on_workers:
        return measure_memory("training", memory.trainer, executor)
    return measure_memory("training", memory.reader, executor, local_plan=memory.trainer)


def show_model(bundle: Bundle) -> None:
    """Leave the training curves, and the map of the parts if there is one."""
    for name in (CURVES, PARTS_MAP):
        path = bundle.path / f"{name}.png"
        if path.exists():
            create_image(
                name, path.read_bytes(), description=f"Training of {bundle.path}: {name}"
            )
