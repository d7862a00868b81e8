"""One loop for every way of reading: which dates a call sees, and which it gives."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pipeline.models import ConvLSTM, ConvLSTMSpec, StepSpec
from pipeline.models.roll import RolloutInputs, TeacherForcing, rollout
from pipeline.streams.samples import RolloutSpan, list_inits
from stores.times import Step, parse_time

MONTH = Step.parse("month")


class Recorder:
    """Give the date after init as every frame, and keep what was seen of one pixel."""

    def __init__(self, reading: StepSpec) -> None:
        self.reading = reading
        self.targets: list[list[float]] = []
        self.valid: list[list[bool]] = []
        self.dates: list[list[float]] = []

    def __call__(self, frames: Tensor) -> Tensor:
        for kept, channel in ((self.targets, 0), (self.valid, 1), (self.dates, 2)):
            kept.append(frames[0, :, channel, 0, 0].tolist())
        now = frames[:, self.reading.history - 1, 2]  # (b, y, x)
        first = now + self.reading.first_lead
        return torch.stack([first + index for index in range(self.reading.emits)], dim=1)


def record(
    reading: StepSpec, leads: int, truth: TeacherForcing | None = None
) -> tuple[Recorder, Tensor]:
    """Roll out inputs whose target and forcing are the date, 0 at init."""
    history = reading.history
    dates = (
        torch.arange(float(reading.n_forcing_frames(leads)))[None, :, None, None] + 1 - history
    )
    inputs = RolloutInputs(
        target=dates[:, :history],
        valid=torch.ones(1, history, 1, 1, dtype=torch.bool),
        forcings=dates[:, :, None],
        statics=torch.zeros(1, 0, 1, 1),
        domain=torch.ones(1, 1, 1, dtype=torch.bool),
    )
    network = Recorder(reading)
    return network, rollout(network, inputs, leads=leads, truth=truth)[0, :, 0, 0]


def test_a_head_that_emits_several_leads_is_called_again_with_its_own_frames() -> None:
    network, forecast = record(StepSpec(3, emits=2), leads=5)
    assert forecast.tolist() == [1, 2, 3, 4, 5]
    assert network.targets == network.dates == [[-2, -1, 0], [0, 1, 2], [2, 3, 4]]


def test_without_feedback_no_call_reads_what_an_earlier_one_gave() -> None:
    network, forecast = record(StepSpec(2, ahead=1, feeds_back=False), leads=3)
    assert forecast.tolist() == [1, 2, 3]
    assert network.dates == [[-1, 0, 1], [0, 1, 2], [1, 2, 3]]
    assert network.targets == [[-1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert network.valid == [[True, True, False], [True, False, False], [False] * 3]


def test_a_network_of_horizon_0_does_not_see_the_map_it_has_to_make() -> None:
    network, forecast = record(StepSpec(3, first_lead=0), leads=2)
    assert forecast.tolist() == [0, 1]
    assert network.targets == [[-2, -1, 0], [-1, 0, 0]]
    assert network.dates == [[-2, -1, 0], [-1, 0, 1]]
    assert network.valid == [[True, True, False]] * 2


def test_a_teacher_replaces_all_frames_of_a_call_but_none_without_feedback() -> None:
    teacher = TeacherForcing(
        target=torch.full((1, 4, 1, 1), 50.0),
        valid=torch.ones(1, 4, 1, 1, dtype=torch.bool),
        is_forced=torch.tensor([[True, False, True, True]]),
    )
    network, _ = record(StepSpec(2, emits=2), leads=4, truth=teacher)
    assert network.targets == [[-1, 0], [50, 2]]
    deaf, _ = record(StepSpec(2, emits=2, feeds_back=False), leads=4, truth=teacher)
    assert deaf.targets == [[-1, 0], [0, 0]]


@given(
    history=st.integers(1, 5),
    emits=st.integers(1, 4),
    ahead=st.integers(0, 4),
    first_lead=st.integers(0, 1),
    leads=st.integers(1, 9),
)
def test_streams_read_the_frames_that_the_loop_reads(
    history: int, emits: int, ahead: int, first_lead: int, leads: int
) -> None:
    reading = StepSpec(history, emits, ahead, first_lead=first_lead)
    span, init = RolloutSpan.of(reading, leads), parse_time("2001-03")
    forcings = span.forcing_times(MONTH, init)
    assert len(forcings) == reading.n_forcing_frames(leads)
    assert set(span.history_times(MONTH, init)) <= set(forcings)
    assert len(span.lead_times(MONTH, init)) == leads
    network, forecast = record(reading, leads)
    assert network.dates[0][-1] == ahead
    assert network.dates[-1][-1] == len(forcings) - history
    assert forecast.tolist() == [float(first_lead + lead) for lead in range(leads)]


def test_a_map_of_init_may_be_the_last_frame_of_a_part() -> None:
    frames = MONTH.range(parse_time("2001-01"), parse_time("2001-06"))
    inits = list_inits([frames], frames, RolloutSpan.of(StepSpec(5, first_lead=0), 1))
    assert [MONTH.label(init) for init in inits] == ["2001-05", "2001-06"]


def test_a_convlstm_reads_its_history_and_gives_the_next_frame() -> None:
    assert ConvLSTM(ConvLSTMSpec(channels=3, history=7)).reading == StepSpec(
        history=7, emits=1, ahead=0, feeds_back=True, first_lead=1
    )


def test_inputs_that_lack_frames_are_refused_with_the_numbers() -> None:
    inputs = RolloutInputs(
        target=torch.zeros(1, 2, 1, 1),
        valid=torch.ones(1, 2, 1, 1, dtype=torch.bool),
        forcings=torch.zeros(1, 3, 1, 1, 1),
        statics=torch.zeros(1, 0, 1, 1),
        domain=torch.ones(1, 1, 1, dtype=torch.bool),
    )
    with pytest.raises(ValueError, match=r"2 frames of the target and 3 .* read 2 and 5, so"):
        rollout(Recorder(StepSpec(2, ahead=1)), inputs, leads=3)


def test_a_reading_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="history=0"):
        StepSpec(0)
    with pytest.raises(ValueError, match="emits=0"):
        StepSpec(2, emits=0)
    with pytest.raises(ValueError, match="ahead=-1"):
        StepSpec(2, ahead=-1)
    with pytest.raises(ValueError, match="first_lead=2"):
        StepSpec(2, first_lead=2)


@pytest.mark.parametrize("changed", [{"emits": 2}, {"ahead": 1}, {"first_lead": 0}], ids=str)
def test_a_memory_of_frames_whose_target_is_not_known_yet_is_refused(
    changed: dict[str, Any],
) -> None:
    with pytest.raises(ValueError, match=r"carries=True with .* could not read it; carry"):
        StepSpec(2, carries=True, **changed)
