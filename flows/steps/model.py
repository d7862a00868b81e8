"""Steps from a cube to a bundle."""

from __future__ import annotations

from contextlib import AbstractContextManager

from flows.artifacts import ProgressPage, leave_picture
from flows.asked import cube_of, logs_of, models_of
from flows.console import progress_bar
from flows.steps.memory import measuring
from flows.steps.room import training_needs
from flows.steps.step import step
from flows.workers import worker_share
from pipeline.recipes import Recipe, date_recipe
from pipeline.rollout.device import pick_device
from pipeline.specs import build_training_spec
from pipeline.spread import Spread
from pipeline.training.bundle import CURVES, PARTS_MAP, train_bundle
from pipeline.training.cost import TrainingMemory, plan_memory
from stores.bundle import Bundle
from stores.cube import Cube


@step
def train_model(recipe: Recipe, spread: Spread, label: str = "") -> Bundle:
    """Fit, train and publish; curves stay in ``training/`` below the root.

    Killed and started again, it goes on from the state that it keeps there. With a label it is
    one of several, whose bundle does not become the current one.
    """
    folders = models_of(recipe), logs_of(recipe, label)
    page = ProgressPage("training", f"Epochs of {recipe.name} {label}".strip())
    workers, cube = worker_share(recipe.compute), Cube.open(cube_of(recipe))
    dated = date_recipe(recipe, cube.times_of(recipe.target.variable)[-1])
    spec = build_training_spec(dated)
    memory = plan_memory(spec, (cube.grid.height, cube.grid.width), workers)
    memory.check(workers)
    if recipe.compute.scheduler is None:
        pick_device(recipe.compute.device)  # refuses before hours of reading
    for need in training_needs(spec.network, *folders):
        need.check()
    with (
        _measuring(memory, spread),
        progress_bar("training") as bar,
    ):

        def tell(done: float, total: float, note: str = "") -> None:
            bar(done, total, note)
            page.tell(done, total, note)

        return train_bundle(spec, cube, folders, spread=spread, tell=tell, aside=bool(label))


def _measuring(memory: TrainingMemory, spread: Spread) -> AbstractContextManager[None]:
    """Measure who learns: ranks, which are workers, or this process beside its readers."""
    if memory.on_workers:
        return measuring("training", memory.trainer, spread)
    return measuring("training", memory.reader, spread, here=memory.trainer)


def show_model(bundle: Bundle) -> None:
    """Leave the training curves, and the map of the parts if there is one."""
    for name in (CURVES, PARTS_MAP):
        path = bundle.path / f"{name}.png"
        if path.exists():
            leave_picture(
                name, path.read_bytes(), description=f"Training of {bundle.path}: {name}"
            )
