"""What makes one member of an ensemble differ from the others."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from torch import nn

from pipeline.models.counter_rng import Origin, RandomKey
from pipeline.models.dropout import mc_dropout
from pipeline.models.perturb import perturb_history
from pipeline.models.roll import RolloutInputs
from pipeline.models.step_spec import ForecastModel, StepSpec
from pipeline.rollout.request import EnsembleSpec
from pipeline.rollout.rollout_plan import LeadBlock


@dataclass(frozen=True, slots=True)
class EnsembleMember:
    """One member over one block of some tiles.

    What is random follows from seed, member, lead and position on the grid alone.
    """

    number: int
    """Counted from 0."""
    members: EnsembleSpec
    block: LeadBlock
    origins: Sequence[Origin]
    """First row and column that each tile of the batch reads."""

    def add_history_noise(self, inputs: RolloutInputs, step_spec: StepSpec) -> RolloutInputs:
        """Return this member's history (b, t, y, x), with noise on the observed frames.

        The history comes as (b, m, t, y, x), or with one m while all members are the same.
        """
        target = inputs.target[:, min(self.number, inputs.target.shape[1] - 1)]
        n_observed = max(0, step_spec.n_known_frames - self.block.first)
        members = self.members
        if not members.noise or not n_observed:
            return inputs._replace(target=target)
        first = self.block.first + 1 - step_spec.history  # 0 is the frame of init
        keys = [self._random_keys(lead) for lead in range(first, first + n_observed)]
        perturbed = perturb_history(
            target,
            inputs.valid,
            keys,
            self.origins,
            noise=members.noise,
            noise_px=members.noise_px,
        )
        return inputs._replace(target=perturbed)

    def mc_dropout_at(self, network: ForecastModel, lead: int) -> AbstractContextManager[None]:
        """Return a context with this member's dropout; ``lead`` counts in the block from 0."""
        if not self.members.dropout:
            return nullcontext()
        assert isinstance(network, nn.Module)
        return mc_dropout(network, self._random_keys(self.block.first + lead + 1))

    def _random_keys(self, lead: int) -> list[RandomKey]:
        key = RandomKey(self.members.seed, self.number, lead)
        return [key] * len(self.origins)
