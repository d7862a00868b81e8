from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.models.roll import RolloutInputs, TeacherForcing, rollout
from pipeline.models.step_spec import StepSpec


def last_target_plus_forcing(frames: Tensor) -> Tensor:
    return frames[:, -1, 0] + frames[:, -1, 2]


def make_inputs(leads: int, domain: Tensor) -> RolloutInputs:
    height, width = domain.shape
    forcings = torch.arange(2 + leads - 1.0)[None, :, None, None, None]
    return RolloutInputs(
        target=torch.full((1, 2, height, width), 10.0),
        valid=torch.ones(1, 2, height, width, dtype=torch.bool),
        forcings=forcings.expand(1, -1, 1, height, width),
        statics=torch.zeros(1, 0, height, width),
        domain=domain[None],
    )


def test_every_lead_reads_the_forcing_of_its_own_last_frame() -> None:
    inputs = make_inputs(3, torch.ones(2, 2, dtype=torch.bool))
    forecast = rollout(last_target_plus_forcing, inputs, leads=3)
    assert forecast[0, :, 0, 0].tolist() == [11.0, 13.0, 16.0]


def test_forecasts_outside_the_domain_are_fed_back_as_invalid() -> None:
    seen: list[Tensor] = []

    def network(frames: Tensor) -> Tensor:
        seen.append(frames[:, -1, :2])
        return frames[:, -1, 0] + 1

    domain = torch.tensor([[True, False]])
    rollout(network, make_inputs(2, domain), leads=2)
    assert seen[1][0, :, 0, 0].tolist() == [11.0, 1.0]
    assert seen[1][0, :, 0, 1].tolist() == [0.0, 0.0]


def test_a_teacher_replaces_what_is_fed_back_but_not_the_forecast() -> None:
    inputs = make_inputs(2, torch.ones(1, 1, dtype=torch.bool))
    teacher = TeacherForcing(
        target=torch.full((1, 2, 1, 1), 50.0),
        valid=torch.ones(1, 2, 1, 1, dtype=torch.bool),
        is_forced=torch.tensor([[True, False]]),
    )
    forecast = rollout(last_target_plus_forcing, inputs, leads=2, truth=teacher)
    assert forecast[0, :, 0, 0].tolist() == [11.0, 52.0]


class Counting(torch.nn.Module):
    """A network that counts how often its first part looks at a frame, and at the statics."""

    reading = StepSpec(history=3)

    def __init__(self) -> None:
        super().__init__()
        self.n_encoded = self.n_static_encoded = 0

    def encode_static(self, statics: Tensor) -> Tensor:
        self.n_static_encoded += 1
        return statics.sum(dim=1)

    def encode_dynamic(self, frames: Tensor, static_encoding: Tensor) -> tuple[Tensor, ...]:
        self.n_encoded += frames.shape[1]
        return (frames.sum(dim=2) + static_encoding[:, None]).unbind(dim=1)

    def predict(self, encoded: Sequence[Tensor], last: Tensor) -> Tensor:
        return last + sum(encoded)

    def forward(self, frames: Tensor) -> Tensor:
        dynamic, statics = torch.split(frames, [3, 2], dim=2)
        encoded = self.encode_dynamic(dynamic, self.encode_static(statics[:, 0]))
        return self.predict(encoded, frames[:, -1, 0])


def test_a_frame_that_many_windows_see_is_encoded_once_and_the_statics_too() -> None:
    inputs = RolloutInputs(
        target=torch.rand(1, 3, 4, 4),
        valid=torch.ones(1, 3, 4, 4, dtype=torch.bool),
        forcings=torch.rand(1, 3 + 5 - 1, 1, 4, 4),
        statics=torch.rand(1, 2, 4, 4),
        domain=torch.ones(1, 4, 4, dtype=torch.bool),
    )
    once, often = Counting(), Counting()
    seen_once = rollout(once, inputs, leads=5)
    seen_often = rollout(lambda frames: often(frames), inputs, leads=5)
    assert (often.n_encoded, often.n_static_encoded) == (15, 5)
    assert (once.n_encoded, once.n_static_encoded) == (3 + 4, 1)
    torch.testing.assert_close(seen_once, seen_often, rtol=0, atol=0)
