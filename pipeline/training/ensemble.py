"""Ensembles in training: several forecasts of every sample, which a loss scores together."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from torch import Tensor, nn

from pipeline.models.counter_rng import RandomKey
from pipeline.models.dropout import mc_dropout
from pipeline.models.perturb import perturb_history
from pipeline.models.roll import RolloutInputs, TeacherForcing
from pipeline.streams.samples import Sample


@dataclass(frozen=True, slots=True)
class TrainingEnsemble:
    """How many members there are, and what makes them differ.

    They lie one after the other along the batch. In training, every row draws its own dropout
    and noise. In validation, all that is random follows from seed, member, lead and position
    on the grid alone, as in a rollout: a score changes with the weights, and with neither
    batches nor ranks.
    """

    n: int
    seed: int = 0
    dropout: bool = False
    """Whether the network drops maps."""
    noise: float = 0.0
    """Deviation of the noise on the history [normalized units]."""

    def repeat(self, inputs: RolloutInputs) -> RolloutInputs:
        """Repeat the inputs of all samples for every member (m b, ...)."""
        return RolloutInputs(*map(self._repeat, inputs))

    def repeat_teacher_forcing(self, teacher: TeacherForcing | None) -> TeacherForcing | None:
        """Repeat the frames (m b, l, y, x), so that members are taught at the same leads."""
        return TeacherForcing(*map(self._repeat, teacher)) if teacher else None

    def split_members(self, forecast: Tensor) -> Tensor:
        """Split the members of a forecast (m b, l, y, x) again: (m, b, l, y, x)."""
        return forecast.reshape(self.n, len(forecast) // self.n, *forecast.shape[1:])

    def add_history_noise(
        self, inputs: RolloutInputs, samples: Sequence[Sample]
    ) -> RolloutInputs:
        """Add noise to the history of all members (m b, t, y, x), for validation."""
        if not self.noise:
            return inputs
        leads = range(1 - inputs.target.shape[1], 1)  # 0 is the frame of init
        keys = [self._keys(lead, samples) for lead in leads]
        origins = [(sample.window.y0, sample.window.x0) for sample in samples] * self.n
        perturbed = perturb_history(
            inputs.target, inputs.valid, keys, origins, noise=self.noise
        )
        return inputs._replace(target=perturbed)

    def mc_dropout_at(
        self, network: nn.Module, samples: Sequence[Sample], lead: int
    ) -> AbstractContextManager[None]:
        """Apply the dropout of each member in the body, for validation; ``lead`` is from 0."""
        if not self.dropout:
            return nullcontext()
        return mc_dropout(network, self._keys(lead + 1, samples))

    def _keys(self, lead: int, samples: Sequence[Sample]) -> list[RandomKey]:
        return [RandomKey(self.seed, number, lead) for number in range(self.n) for _ in samples]

    def _repeat(self, values: Tensor) -> Tensor:
        return values.repeat(self.n, *[1] * (values.dim() - 1))
