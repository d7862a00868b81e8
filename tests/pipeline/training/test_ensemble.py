"""Trainings whose samples are output out several times, and scored as an ensemble."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.losses import WeightedLoss, build_loss, sum_losses
from pipeline.models import ConvLSTM, ConvLSTMSpec
from pipeline.models.roll import RolloutInputs, rollout
from pipeline.rollout.ensemble import EnsembleMember
from pipeline.rollout.request import EnsembleSpec
from pipeline.rollout.rollout_plan import LeadBlock
from pipeline.streams.samples import Sample
from pipeline.training.ensemble import TrainingEnsemble
from pipeline.training.task import DeviceBatch, ForecastTask
from stores.windows import Window
from tests.pipeline.training.test_trainer import (
    HISTORY,
    LEADS,
    SIDE,
    cut,
    make_batch,
    make_trainer,
)

N = 3
BOTH = TrainingEnsemble(N, seed=5, dropout=True, noise=0.4)
WAYS = [BOTH, replace(BOTH, noise=0.0), replace(BOTH, dropout=False)]


def make_network(**shape: Any) -> ConvLSTM:
    torch.manual_seed(0)
    given: dict[str, Any] = {"hidden": (3,), "dropout": 0.5, "norm": "none"} | shape
    network = ConvLSTM(ConvLSTMSpec(4, HISTORY, **given))
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return network.eval()


class RecordingLoss:
    """A loss that keeps the distribution it was given."""

    distribution: Tensor

    def __call__(self, forecast: Tensor, truth: Tensor, valid: Tensor, *_: object) -> Tensor:
        self.distribution = forecast
        return forecast.mean()


def make_task(
    ensemble: TrainingEnsemble | None, network: ConvLSTM
) -> tuple[ForecastTask, RecordingLoss]:
    recording = RecordingLoss()
    loss = sum_losses([WeightedLoss(1.0, recording, takes_distribution=True)])
    return ForecastTask(network, loss, LEADS, ensemble=ensemble), recording


def validate(
    ensemble: TrainingEnsemble | None, batch: DeviceBatch, network: ConvLSTM
) -> Tensor:
    task, recording = make_task(ensemble, network)
    with torch.no_grad():
        task.validation_step(batch)
    return recording.distribution


@pytest.mark.parametrize("ensemble", WAYS, ids=str)
def test_members_of_a_validation_are_those_of_a_rollout(ensemble: TrainingEnsemble) -> None:
    network, batch = make_network(), make_batch()
    samples = [
        Sample(s.init, Window(7, 7 + SIDE, 20 + i, 20 + i + SIDE))
        for i, s in enumerate(batch.samples)
    ]
    batch = replace(batch, samples=samples)
    members = validate(ensemble, batch, network)
    assert members.shape == (N, 4, LEADS, SIDE, SIDE)
    spec = EnsembleSpec(N, ensemble.seed, ensemble.dropout, ensemble.noise)
    origins = [(s.window.y0, s.window.x0) for s in samples]
    history = batch.target[:, None, :HISTORY]
    inputs = RolloutInputs(
        history, batch.valid[:, :HISTORY], batch.forcings, batch.statics, batch.domain
    )
    for number in range(N):
        member = EnsembleMember(number, spec, LeadBlock(0, LEADS), origins)
        own = member.add_history_noise(inputs, network.reading)
        at_lead = partial(member.mc_dropout_at, network)
        with torch.no_grad():
            expected = rollout(network, own, leads=LEADS, at_lead=at_lead)
        torch.testing.assert_close(members[number], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ensemble", WAYS, ids=str)
def test_members_differ_and_a_validation_is_the_same_in_every_cut(
    ensemble: TrainingEnsemble,
) -> None:
    network, batch = make_network(), make_batch()
    whole = validate(ensemble, batch, network)
    assert whole.std(dim=0).mean() > 0.01
    torch.rand(7)
    assert torch.equal(validate(ensemble, batch, network), whole)
    halves = [validate(ensemble, cut(batch, *ends), network) for ends in ((0, 1), (1, 4))]
    torch.testing.assert_close(torch.cat(halves, dim=1), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ensemble", WAYS, ids=str)
def test_members_that_are_taught_draw_for_themselves(ensemble: TrainingEnsemble) -> None:
    network, batch = make_network().train(), make_batch()
    task, recording = make_task(ensemble, network)
    for _ in range(2):
        before = getattr(recording, "distribution", None)
        output = task.training_step(
            batch, leads=LEADS, teacher_probability=0.0, noise_std=ensemble.noise
        )
        assert recording.distribution.std(dim=0).mean() > 0.01
        assert before is None or not torch.equal(before, recording.distribution)
        torch.testing.assert_close(output.forecast, recording.distribution.mean(dim=0))


def test_all_members_are_taught_at_the_same_leads() -> None:
    network, batch = make_network(dropout=0.0).train(), make_batch()
    task, recording = make_task(TrainingEnsemble(N), network)
    forecasts = []
    for teacher in (0.0, 0.5, 1.0):
        task.training_step(batch, leads=LEADS, teacher_probability=teacher, noise_std=0.0)
        assert torch.equal(
            recording.distribution, recording.distribution[:1].expand_as(recording.distribution)
        )
        forecasts.append(recording.distribution[0, :, 1])
    free, mixed, taught = forecasts
    kinds = [[torch.equal(m, f) for f in (free[i], taught[i])] for i, m in enumerate(mixed)]
    assert sorted(map(tuple, kinds))[0] == (False, True)
    assert sorted(map(tuple, kinds))[-1] == (True, False)


@pytest.mark.parametrize("quantiles", [(), (0.1, 0.5, 0.8)])
def test_other_losses_see_the_mean_of_members_or_the_median(
    quantiles: tuple[float, ...],
) -> None:
    network, batch = make_network(quantiles=quantiles), make_batch()
    ensemble = None if quantiles else BOTH
    distribution = validate(ensemble, batch, network)
    center = distribution[1] if quantiles else distribution.mean(dim=0)
    task, _ = make_task(ensemble, network)
    task._loss = sum_losses([WeightedLoss(2.0, build_loss("mse"))])
    with torch.no_grad():
        output = task.validation_step(batch)
    assert torch.equal(output.forecast, center)
    expected = 2 * (center - output.truth).square().mean()
    torch.testing.assert_close(output.loss, expected)


def test_a_rank_without_a_sample_takes_part() -> None:
    network, batch = make_network().train(), cut(make_batch(), 0, 0)
    task = ForecastTask(
        network, sum_losses([WeightedLoss(1.0, build_loss("crps"), True)]), LEADS, ensemble=BOTH
    )
    assert (
        task.training_step(batch, leads=LEADS, teacher_probability=0.5, noise_std=0.1).loss == 0
    )


def test_a_full_memory_names_the_members() -> None:
    trainer = make_trainer()
    trainer.task._ensemble = BOTH

    def fail(*_: object) -> Tensor:
        raise MemoryError

    trainer.task._loss = fail
    with pytest.raises(MemoryError, match=r"4 patches of 8 x 8 px in 3 members each, .*crps"):
        trainer.train_batch(make_batch(), loss_weight=1.0, is_last_microbatch=True)
