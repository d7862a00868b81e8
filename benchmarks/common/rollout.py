"""Plan and run a rollout of a case through the real engine."""

from __future__ import annotations

from pathlib import Path

from benchmarks.common.case import BenchmarkCase
from benchmarks.common.measure import stopwatch
from pipeline.executors import Executor
from pipeline.memory import WorkerPool
from pipeline.models import ConvLSTM
from pipeline.rollout.engine import roll_out
from pipeline.rollout.rollout_plan import RolloutPlan, RolloutWorkload, plan_rollout


def plan_case(
    case: BenchmarkCase,
    worker_bytes: int,
    *,
    n_workers: int = 1,
    core_px: int | None = None,
    block_leads: int | None = None,
) -> RolloutPlan:
    """Let the engine plan, for workers of so much memory [B]."""
    network = network_of(case)
    rollout = RolloutWorkload(case.shape, network.reach, network.shape, case.leads)
    workers = WorkerPool(n_workers, worker_bytes)
    return plan_rollout(rollout, workers, core_px=core_px, block_leads=block_leads)


def network_of(case: BenchmarkCase) -> ConvLSTM:
    """Open the network of a case."""
    (network,) = case.forecaster().networks
    assert isinstance(network, ConvLSTM)
    return network


def run_plan(
    case: BenchmarkCase, plan: RolloutPlan, name: str, executor: Executor
) -> tuple[Path, float]:
    """Roll a plan out; return the stage that holds the forecast, and the seconds."""
    stage = case.stage(name, plan.layout)
    with stopwatch() as spent:
        for progress in roll_out(case.request, plan, stage, executor=executor):
            assert progress.done <= progress.total
    return stage, spent()


def describe_plan(plan: RolloutPlan) -> str:
    """Describe a plan in one line."""
    read = plan.tiles[0].reads.shape
    return (
        f"{len(plan.tiles)} tiles of {plan.core_px} px reading {read[0]} x {read[1]} px, "
        f"{len(plan.blocks)} blocks of {plan.block_leads} leads"
    )
