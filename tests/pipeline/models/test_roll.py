import torch
from torch import Tensor

from pipeline.models.roll import Inputs, Teacher, roll


def last_target_plus_forcing(frames: Tensor) -> Tensor:
    return frames[:, -1, 0] + frames[:, -1, 2]


def make_inputs(leads: int, domain: Tensor) -> Inputs:
    height, width = domain.shape
    forcings = torch.arange(2 + leads - 1.0)[None, :, None, None, None]
    return Inputs(
        target=torch.full((1, 2, height, width), 10.0),
        valid=torch.ones(1, 2, height, width, dtype=torch.bool),
        forcings=forcings.expand(1, -1, 1, height, width),
        statics=torch.zeros(1, 0, height, width),
        domain=domain[None],
    )


def test_every_lead_reads_the_forcing_of_its_own_last_frame() -> None:
    inputs = make_inputs(3, torch.ones(2, 2, dtype=torch.bool))
    forecast = roll(last_target_plus_forcing, inputs, leads=3)
    assert forecast[0, :, 0, 0].tolist() == [11.0, 13.0, 16.0]


def test_forecasts_outside_the_domain_are_fed_back_as_invalid() -> None:
    seen: list[Tensor] = []

    def network(frames: Tensor) -> Tensor:
        seen.append(frames[:, -1, :2])
        return frames[:, -1, 0] + 1

    domain = torch.tensor([[True, False]])
    roll(network, make_inputs(2, domain), leads=2)
    assert seen[1][0, :, 0, 0].tolist() == [11.0, 1.0]
    assert seen[1][0, :, 0, 1].tolist() == [0.0, 0.0]


def test_a_teacher_replaces_what_is_fed_back_but_not_the_forecast() -> None:
    inputs = make_inputs(2, torch.ones(1, 1, dtype=torch.bool))
    teacher = Teacher(
        target=torch.full((1, 2, 1, 1), 50.0),
        valid=torch.ones(1, 2, 1, 1, dtype=torch.bool),
        picked=torch.tensor([[True, False]]),
    )
    forecast = roll(last_target_plus_forcing, inputs, leads=2, truth=teacher)
    assert forecast[0, :, 0, 0].tolist() == [11.0, 52.0]
