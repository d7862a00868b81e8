"""Plan and run a rollout of a case through the real engine."""

from __future__ import annotations

from pathlib import Path

from benchmarks.common.case import Case
from benchmarks.common.measure import stopwatch
from pipeline.budget import Workers
from pipeline.models import ConvLSTM
from pipeline.rollout.engine import roll_out
from pipeline.rollout.plan import Rollout, RolloutPlan, plan_rollout
from pipeline.spread import Spread


def plan_case(
    case: Case,
    worker_bytes: int,
    *,
    n_workers: int = 1,
    core_px: int | None = None,
    block_leads: int | None = None,
) -> RolloutPlan:
    """Let the engine plan, for workers of so much memory [B]."""
    network = network_of(case)
    rollout = Rollout(case.shape, network.reach, network.shape, case.leads)
    workers = Workers(n_workers, worker_bytes)
    return plan_rollout(rollout, workers, core_px=core_px, block_leads=block_leads)


def network_of(case: Case) -> ConvLSTM:
    """Open the network of a case."""
    (network,) = case.forecaster().networks
    assert isinstance(network, ConvLSTM)
    return network


def run_plan(case: Case, plan: RolloutPlan, name: str, spread: Spread) -> tuple[Path, float]:
    """Roll a plan out; give the stage that holds the forecast, and the seconds."""
    stage = case.stage(name, plan.layout)
    with stopwatch() as spent:
        for progress in roll_out(case.request, plan, stage, spread=spread):
            assert progress.done <= progress.total
    return stage, spent()


def describe_plan(plan: RolloutPlan) -> str:
    """Say a plan in one line."""
    read = plan.tiles[0].reads.shape
    return (
        f"{len(plan.tiles)} tiles of {plan.core_px} px reading {read[0]} x {read[1]} px, "
        f"{len(plan.blocks)} blocks of {plan.block_leads} leads"
    )
