"""Everything that changes while a network learns, as one state that can be kept."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pipeline.channels import ChannelSpec
from pipeline.losses import counted_by
from pipeline.streams.samples import Sample
from pipeline.training.arithmetic import Arithmetic, arithmetic_on
from pipeline.training.average import Average
from pipeline.training.finished import computed_with
from pipeline.training.judge import Judge, Score
from pipeline.training.norm import norm_over_ranks
from pipeline.training.position import Position
from pipeline.training.ranks import Ranks
from pipeline.training.safety import check_gradient, check_loss, memory_explained
from pipeline.training.schedule import Curriculum, Plateau, rate_at
from pipeline.training.state import State, random_states, set_random_states
from pipeline.training.task import ForecastTask, Parts
from stores.counting import count

if TYPE_CHECKING:
    from lightning.fabric import Fabric

Row = dict[str, float]


@dataclass(frozen=True, slots=True)
class LearningPlan:
    """Numbers that steer the optimizer and what it is asked."""

    curriculum: Curriculum
    lr: float
    weight_decay: float
    warmup_steps: int
    schedule: str
    total_steps: int = 0
    """Steps of the whole training: known once its samples are counted."""
    clip: float = 0.0
    accumulate: int = 1
    noise: float = 0.0
    ema: float = 0.0
    patience: int = 10


@dataclass
class Learner:
    """A network that learns, and all that has to be known to go on.

    Args:
        fabric: where and in which precision it computes.
        task: what it learns.
        plan: numbers that steer it.
        scores: judged after every epoch; the last decides.
        channels: of the network.
    """

    fabric: Fabric
    task: ForecastTask
    plan: LearningPlan
    scores: Sequence[Score]
    channels: ChannelSpec
    at: Position = field(default_factory=Position)
    curves: list[Row] = field(default_factory=list)
    plateau: Plateau = field(default_factory=Plateau)

    def __post_init__(self) -> None:
        self.ranks = Ranks(self.fabric)
        if self.ranks.n > 1:
            norm_over_ranks(self.task.network)
        network = self.task.network.to(self.fabric.device)
        self._bare = torch.optim.AdamW(  # Loshchilov and Hutter (2019)
            network.parameters(), lr=self.plan.lr, weight_decay=self.plan.weight_decay
        )
        optimizer = self.fabric.setup_optimizers(self._bare)
        assert not isinstance(optimizer, tuple)  # one was given
        self._optimizer = optimizer
        self._average = Average(network, self.plan.ema) if self.plan.ema else None
        self.judge = Judge(self.plan.patience)
        self.arithmetic = [
            arithmetic_on(
                self.fabric.device,
                str(self.fabric.strategy.precision.precision),
                threads=torch.get_num_threads(),
                ranks=self.ranks.n,
            )
        ]

    @property
    def is_done(self) -> bool:
        """Tell whether there is nothing left to learn."""
        return self.at.epoch >= self.plan.curriculum.epochs or self.judge.is_done

    @property
    def rate(self) -> float:
        """Learning rate of the next step."""
        share = rate_at(
            self.at.step,
            kind=self.plan.schedule,
            warmup_steps=self.plan.warmup_steps,
            total_steps=self.plan.total_steps,
        )
        return self.plan.lr * share * self.plateau.factor

    @property
    def leads(self) -> int:
        """Leads rolled out in this epoch."""
        return self.plan.curriculum.leads_at(self.at.epoch)

    def begin_epoch(self) -> None:
        """Note the rate, unless this epoch began in a process that was killed."""
        if self.at.batch == 0:
            self.at.rate = self.rate

    def place(self, tensors: Sequence[Tensor], samples: Sequence[Sample]) -> Parts:
        """Bring a batch to the device of the network."""
        device = self.fabric.device
        return Parts.of((t.to(device, non_blocking=True) for t in tensors), samples)

    def learn(self, batch: Parts, *, share: float, closes: bool) -> int:
        """Learn from one batch.

        Args:
            batch: what to learn from; with several ranks, this one's part of it.
            share: share of the batch in its step.
            closes: whether the step is made now, or gathers the gradients of more batches.

        Returns:
            Samples of the batch, of all ranks.
        """
        with memory_explained(self._cost(batch, self.leads)):
            with self._arithmetic(), self._counting():
                rolled = self.task.teach(
                    batch,
                    leads=self.leads,
                    teacher=self.plan.curriculum.teacher_at(self.at.epoch),
                    noise=self.plan.noise,
                )
            loss = check_loss(rolled, batch, self.channels, self._where())
            self.fabric.backward(rolled.loss * share)
            if closes:
                self._make_step(batch)
        loss, n_samples = self.ranks.add(loss, len(batch))
        self.at.batch += 1
        self.at.loss += loss * n_samples
        self.at.n_samples += int(n_samples)
        return int(n_samples)

    def _make_step(self, last: Parts) -> None:
        self.ranks.add_gradients(self.task.network)
        for group in self._bare.param_groups:
            group["lr"] = self.rate
        norm = self.fabric.clip_gradients(
            self.task.network,
            self._optimizer,
            max_norm=self.plan.clip or math.inf,
            error_if_nonfinite=False,
        )
        # Half precision overflows now and then: its scaler skips that step and scales less.
        if self.fabric.strategy.precision.precision != "16-mixed":
            assert norm is not None
            check_gradient(norm, last, self._where())
        self._optimizer.step()
        self._bare.zero_grad()
        self.at.step += 1
        if self._average is not None:
            self._average.update(self.task.network)

    @contextmanager
    def judged(self) -> Iterator[None]:
        """Let the network forecast as it will be used: averaged, without dropout."""
        network = self.task.network
        average = self._average.in_place_of(network) if self._average else nullcontext()
        for score in self.scores:
            score.clear()
        network.eval()
        try:
            with torch.no_grad(), average:
                yield
        finally:
            network.train()

    def look(self, batch: Parts) -> None:
        """Score one batch of the validation part."""
        leads = self.plan.curriculum.leads
        with memory_explained(self._cost(batch, leads)), self._arithmetic():
            rolled = self.task.judge(batch)
        check_loss(rolled, batch, self.channels, f"the validation behind {self._where()}")
        for score in self.scores:
            score.add(batch, rolled)

    def close_epoch(self) -> tuple[Row, bool]:
        """Write the epoch down; tell whether it is the best so far.

        Raises:
            RuntimeError: ranks hold different weights.
            ValueError: the score is not a number.
        """
        if self.ranks.n > 1:
            self.ranks.check_equal(self.task.network, f"after epoch {self.at.epoch + 1}")
            for judging in self.scores:
                judging.join(self.ranks.add)
        score = self.scores[-1].value
        if not math.isfinite(score):
            raise ValueError(
                f"{self.scores[-1].name} is {score}: the validation part has no valid pixel "
                "there, so no epoch can be called better; lengthen split.validation"
            )
        row = {"epoch": self.at.epoch + 1, "train_loss": self.at.loss / self.at.n_samples}
        row |= {score.name: score.value for score in self.scores} | {"lr": self.at.rate}
        row |= self.plan.curriculum.row_at(self.at.epoch)
        if self._average is not None:
            row["ema"] = self._average.decay
        self.curves.append(row)
        weights = self._average.weights if self._average else self.task.network.state_dict()
        kept = {name: value.detach().cpu().clone() for name, value in weights.items()}
        grows = self.plan.curriculum.grows_at(self.at.epoch)
        is_best = self.judge.look(self.at.epoch + 1, score, kept, grows=grows)
        if self.plan.schedule == "plateau":
            self.plateau.note(score)
        self.at = Position(epoch=self.at.epoch + 1, step=self.at.step)
        return row, is_best

    def state(self) -> State:
        """Give all that has to be kept: only between two steps, and on all ranks at once."""
        first, *others = self.ranks.gather(random_states())
        return {
            "at": vars(self.at).copy(),
            "network": self.task.network.state_dict(),
            "optimizer": self._bare.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "average": self._average.state() if self._average else None,
            "judge": self.judge.state(),
            "plateau": self.plateau.state(),
            "curves": self.curves,
            "random": first,
            "random_of_others": others,
            **computed_with(self.arithmetic),
        }

    def restore(self, state: State) -> None:
        """Go on from a kept state."""
        self.at = Position(**state["at"])
        self.task.network.load_state_dict(state["network"])
        self._bare.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        if self._average is not None:
            self._average.restore(**state["average"])
        self.judge.restore(state["judge"])
        self.plateau = Plateau(**state["plateau"])
        self.curves = list(state["curves"])
        (now,), before = self.arithmetic, [Arithmetic(**one) for one in state["arithmetic"]]
        learns = [] if self.is_done else [now]
        self.arithmetic = [*(one for one in before if one not in learns), *learns]
        kept = [state["random"], *state.get("random_of_others", [])]
        if self.ranks.rank < len(kept):
            set_random_states(kept[self.ranks.rank])

    def _counting(self) -> AbstractContextManager[None]:
        """Let losses divide by what is valid on all ranks."""
        return counted_by(self.ranks.total) if self.ranks.n > 1 else nullcontext()

    @contextmanager
    def _arithmetic(self) -> Iterator[None]:
        with self.fabric.autocast():
            # A weight is used for every frame and lead. Cast once for all of them, its
            # gradients would add up in half precision.
            torch.set_autocast_cache_enabled(False)
            yield

    def _where(self) -> str:
        at = self.at
        return f"step {at.step + 1} (epoch {at.epoch + 1}, batch {at.batch + 1})"

    def _cost(self, batch: Parts, leads: int) -> str:
        (y, x), n = batch.target.shape[-2:], self.task.n_members
        members = f" in {n} members each" if n > 1 else ""
        return (
            f"a batch of {count(len(batch), 'patch')} of {y} x {x} px{members}, rolled out "
            f"over {count(leads, 'lead')} on {self.fabric.device},"
        )
