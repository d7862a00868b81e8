import copy
import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric

from pipeline.channels import ChannelGroup, ChannelSpec, CovariateChannels
from pipeline.losses import WeightedLoss, build_loss, sum_losses
from pipeline.models import ConvLSTM, ConvLSTMSpec
from pipeline.streams.samples import Sample
from pipeline.training.early_stopping import MeanLoss
from pipeline.training.schedule import Curriculum, Hyperparameters
from pipeline.training.task import DeviceBatch, ForecastTask
from pipeline.training.trainer import Trainer
from stores.windows import Window

HISTORY, LEADS, SIDE = 3, 2, 8
CHANNELS = ChannelSpec(
    "rain",
    ChannelGroup((CovariateChannels("heat", ("heat",)),)),
    ChannelGroup((CovariateChannels("elevation", ("elevation",)),)),
)


def make_batch(n: int = 4, seed: int = 0) -> DeviceBatch:
    """Make a batch whose pixels are all valid, with one forcing and one static channel."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(n, *shape, SIDE, SIDE, generator=generator)

    valid = torch.ones(n, HISTORY + LEADS, SIDE, SIDE, dtype=torch.bool)
    window = Window(0, SIDE, 0, SIDE)
    samples = [
        Sample(np.datetime64(f"2001-{month:02}-01"), window) for month in range(1, n + 1)
    ]
    forcings = draw(HISTORY + LEADS, 1)
    return DeviceBatch(
        draw(HISTORY + LEADS), valid, forcings, draw(1), valid[:, 0].clone(), samples
    )


def cut(batch: DeviceBatch, start: int, stop: int) -> DeviceBatch:
    tensors = (batch.target, batch.valid, batch.forcings, batch.statics, batch.domain)
    return DeviceBatch.of((tensor[start:stop] for tensor in tensors), batch.samples[start:stop])


def make_trainer(precision: Any = "32-true", **plan: Any) -> Trainer:
    torch.manual_seed(0)
    shape = ConvLSTMSpec(4, HISTORY, hidden=(3,), head=(3,), dropout=0.0, norm="none")
    task = ForecastTask(
        ConvLSTM(shape), sum_losses([WeightedLoss(1.0, build_loss("mse"))]), LEADS
    )
    curriculum = Curriculum(epochs=3, leads=LEADS, leads_start=LEADS)
    given = {"lr": 0.01, "weight_decay": 0.0, "warmup_steps": 0, "total_steps": 9} | plan
    hyperparameters = Hyperparameters(curriculum, schedule="constant", **given)
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    return Trainer(fabric, task, hyperparameters, [MeanLoss()], CHANNELS)


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    return copy.deepcopy(trainer.task.network.state_dict())


def test_batches_that_are_accumulated_make_the_step_of_one_large_batch() -> None:
    batch, large, small = make_batch(), make_trainer(), make_trainer()
    before = weights_of(large)
    large.train_batch(batch, loss_weight=1.0, is_last_microbatch=True)
    small.train_batch(cut(batch, 0, 2), loss_weight=0.5, is_last_microbatch=False)
    assert small.progress.step == 0
    small.train_batch(cut(batch, 2, 4), loss_weight=0.5, is_last_microbatch=True)
    assert large.progress.step == small.progress.step == 1
    assert any(not torch.equal(before[name], w) for name, w in weights_of(large).items())
    for name, weight in weights_of(large).items():
        torch.testing.assert_close(weights_of(small)[name], weight, rtol=1e-4, atol=1e-6)
    assert small.progress.loss == pytest.approx(large.progress.loss, rel=1e-5)


def test_a_gradient_is_clipped_to_its_largest_norm() -> None:
    plain, clipped = make_trainer(), make_trainer(clip=1e-9)
    for trainer in (plain, clipped):
        trainer.train_batch(make_batch(), loss_weight=1.0, is_last_microbatch=True)
    moved = [
        sum(float((w - start).abs().sum()) for w, start in zip(after, first, strict=True))
        for after, first in (
            (weights_of(trainer).values(), weights_of(make_trainer()).values())
            for trainer in (plain, clipped)
        )
    ]
    assert moved[1] < 0.5 * moved[0]  # AdamW's eps sees gradients that are smaller than itself


def test_the_average_of_weights_follows_its_formula_and_is_what_is_judged() -> None:
    trainer = make_trainer(ema=0.5)
    name = "head.1.weight"
    expected = weights_of(trainer)[name]
    for n in (1, 2, 3, 9, 20):
        trainer.train_batch(make_batch(seed=n), loss_weight=1.0, is_last_microbatch=True)
        decay = min(0.5, (1 + trainer.progress.step) / (10 + trainer.progress.step))
        expected = decay * expected + (1 - decay) * weights_of(trainer)[name]
    own = weights_of(trainer)[name]
    with trainer.evaluating():
        torch.testing.assert_close(weights_of(trainer)[name], expected)
        assert not torch.equal(own, expected)
        trainer.validate_batch(make_batch())
    assert torch.equal(weights_of(trainer)[name], own)
    trainer.end_epoch()
    torch.testing.assert_close(trainer.early_stopping.weights[name], expected)


def test_noise_is_added_to_valid_history_and_only_while_learning() -> None:
    batch = make_batch()
    batch.valid[:, 0] = False
    trainer = make_trainer()
    calm = trainer.task.training_step(
        batch, leads=LEADS, teacher_probability=0.0, noise_std=0.0
    )
    noisy = trainer.task.training_step(
        batch, leads=LEADS, teacher_probability=0.0, noise_std=3.0
    )
    assert torch.equal(calm.truth, noisy.truth)
    trainer.train_batch(
        batch, loss_weight=1.0, is_last_microbatch=True
    )  # the zero-started output learns to see
    calm = trainer.task.training_step(
        batch, leads=LEADS, teacher_probability=0.0, noise_std=0.0
    )
    noisy = trainer.task.training_step(
        batch, leads=LEADS, teacher_probability=0.0, noise_std=3.0
    )
    assert not torch.equal(calm.forecast, noisy.forecast)
    validated = [trainer.task.validation_step(batch).forecast for _ in range(2)]
    assert torch.equal(*validated)
    assert torch.equal(validated[0], calm.forecast)


def test_fewer_leads_are_the_first_ones_of_all() -> None:
    trainer, batch = make_trainer(), make_batch()
    trainer.train_batch(batch, loss_weight=1.0, is_last_microbatch=True)
    one = trainer.task.training_step(batch, leads=1, teacher_probability=0.0, noise_std=0.0)
    all_ = trainer.task.validation_step(batch)
    assert one.forecast.shape[1] == 1
    assert torch.equal(one.forecast, all_.forecast[:, :1])
    assert torch.equal(one.truth, all_.truth[:, :1])


def test_a_lead_that_is_taught_sees_the_truth_of_the_one_before() -> None:
    trainer, batch = make_trainer(), make_batch()
    trainer.train_batch(batch, loss_weight=1.0, is_last_microbatch=True)
    free = trainer.task.validation_step(batch).forecast
    taught = trainer.task.training_step(
        batch, leads=LEADS, teacher_probability=1.0, noise_std=0.0
    ).forecast
    assert torch.equal(free[:, 0], taught[:, 0])
    assert not torch.equal(free[:, 1], taught[:, 1])


@pytest.mark.parametrize(
    ("field", "channel"),
    [("target", "rain"), ("forcings", "heat"), ("statics", "elevation")],
)
def test_a_loss_that_is_not_finite_names_sample_and_channel(field: str, channel: str) -> None:
    trainer, batch = make_trainer(), make_batch()
    trainer.train_batch(batch, loss_weight=1.0, is_last_microbatch=True)
    before = weights_of(trainer)
    getattr(batch, field)[2, 0] = math.inf
    with pytest.raises(FloatingPointError) as refused:
        trainer.train_batch(batch, loss_weight=1.0, is_last_microbatch=True)
    message = str(refused.value)
    assert "the loss is nan at step 2 (epoch 1, batch 2)" in message
    assert f"sample 2001-03-01/{batch.samples[2].window}," in message
    assert f"channel {channel!r} is not finite" in message
    for name, weight in weights_of(trainer).items():
        assert torch.equal(weight, before[name])


def test_a_loss_that_runs_away_names_the_largest_input() -> None:
    trainer, batch = make_trainer(), make_batch()
    batch.statics[1] = 1e30
    with torch.no_grad():
        for weight in trainer.task.network.parameters():
            weight.fill_(math.inf)
    with pytest.raises(FloatingPointError, match="largest is 1e\\+30 in channel 'elevation'"):
        trainer.train_batch(batch, loss_weight=1.0, is_last_microbatch=True)


def test_a_gradient_that_is_not_finite_makes_no_step() -> None:
    trainer, batch = make_trainer(), make_batch()
    steep = build_loss("mse")
    trainer.task._loss = lambda f, t, v, *_: (f * 0).abs().sqrt().sum() + steep(f, t, v)
    before = weights_of(trainer)
    with pytest.raises(FloatingPointError, match=r"gradient is nan at step 1 .* is finite"):
        trainer.train_batch(batch, loss_weight=1.0, is_last_microbatch=True)
    for name, weight in weights_of(trainer).items():
        assert torch.equal(weight, before[name])


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("can't allocate memory"),
    ],
)
def test_a_full_memory_says_what_to_lower(error: Exception) -> None:
    trainer = make_trainer()

    def fail(*_: object) -> torch.Tensor:
        raise error

    trainer.task._loss = fail
    with pytest.raises(MemoryError) as refused:
        trainer.train_batch(make_batch(), loss_weight=1.0, is_last_microbatch=True)
    message = str(refused.value)
    assert "a batch of 4 patches of 8 x 8 px, rolled out over 2 leads on cpu" in message
    assert "lower training.batch and raise training.accumulate" in message


def test_other_errors_are_not_taken_for_a_full_memory() -> None:
    trainer, batch = make_trainer(), make_batch()
    wide = dataclasses.replace(batch, statics=torch.cat([batch.statics, batch.statics], dim=1))
    with pytest.raises(ValueError, match="are not the 4 of this network"):
        trainer.train_batch(wide, loss_weight=1.0, is_last_microbatch=True)


def test_bfloat16_learns_like_float32_to_its_precision() -> None:
    losses = []
    for precision in ("32-true", "bf16-mixed"):
        trainer = make_trainer(precision)
        for n in range(3):
            trainer.train_batch(make_batch(seed=n), loss_weight=1.0, is_last_microbatch=True)
        losses.append(trainer.progress.loss)
        assert all(w.dtype == torch.float32 for w in weights_of(trainer).values())
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
