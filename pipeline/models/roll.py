"""The rollout itself: one loop, torch only."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.models.step_spec import ForecastModel, StepSpec
from pipeline.models.steppers import Network, make_stepper, require_stateful

LeadContext = Callable[[int], AbstractContextManager[None]]
"""Opens what a call of the network happens in, by the first lead of the call, from 0."""


def _no_context(_: int) -> AbstractContextManager[None]:
    return nullcontext()


class RolloutInputs(NamedTuple):
    """What a rollout of H leads from T frames reads, normalized; invalid values are 0."""

    target: Tensor
    """History of the target (b, t, y, x)."""
    valid: Tensor
    """Where the history is valid (b, t, y, x), boolean."""
    forcings: Tensor
    """Covariates of every frame that is read, at its true date (b, n, f, y, x).

    There are ``StepSpec.n_forcing_frames(H)`` of them: T + H - 1 for a network that forecasts
    the next frame.
    """
    statics: Tensor
    """Covariates without a date (b, s, y, x)."""
    domain: Tensor
    """Where forecasts are made and fed back (b, y, x), boolean."""

    def last_frame(self) -> RolloutInputs:
        """Return all but the history before its last frame, which a memory has not read yet."""
        earlier = self.target.shape[1] - 1
        return self._replace(
            target=self.target[:, earlier:],
            valid=self.valid[:, earlier:],
            forcings=self.forcings[:, earlier:],
        )


def rollout(
    network: Network,
    inputs: RolloutInputs,
    *,
    leads: int,
    truth: TeacherForcing | None = None,
    at_lead: LeadContext = _no_context,
    memory: Tensor | None = None,
) -> Tensor:
    """Forecast ``leads`` frames, each from the frames before it (b, leads, y, x).

    One loop for all families: what a call reads and forecasts is the network's own statement
    (``StepSpec``). A network of quantiles returns (q, b, leads, y, x), each frame from the
    medians before it. Forecasts are set invalid outside the domain before they are fed back.
    With a ``truth`` some fed-back frames are the observed ones instead (scheduled sampling,
    Bengio et al. 2015). With a ``memory`` (see ``rollout_stateful``) only the last frame of the
    history is read.

    Args:
        network: what forecasts.
        inputs: what it reads.
        leads: frames to forecast.
        truth: observed frames that replace some forecasts.
        at_lead: what each call happens in, such as the dropout of an ensemble's member.
        memory: what an earlier call returned, where the network carries one.

    Raises:
        ValueError: the inputs are not the frames that the network reads, or it has no memory.
    """
    if memory is not None:
        require_stateful(network)
    return _roll(network, inputs, leads=leads, truth=truth, at_lead=at_lead, memory=memory)[0]


def rollout_stateful(
    network: Network,
    inputs: RolloutInputs,
    *,
    leads: int,
    memory: Tensor | None,
    at_lead: LeadContext = _no_context,
) -> tuple[Tensor, Tensor]:
    """Forecast (b, leads, y, x), and return the memory (b, m, y, x) for later leads.

    The memory (b, m, y, x) has read every frame but the last forecast. Leads that go on from it
    with that forecast as the last frame of their history equal those of one longer rollout.

    Args:
        network: its ``StepSpec`` says that it keeps a memory.
        inputs: as for ``rollout``; with a memory, frames before the last one may be left out.
        leads: frames to forecast.
        memory: what an earlier call returned; None reads the history.
        at_lead: what each call happens in.

    Raises:
        ValueError: the inputs are not the frames that the network reads, or it has no memory.
    """
    require_stateful(network)
    frames, memory_after = _roll(network, inputs, leads=leads, at_lead=at_lead, memory=memory)
    assert memory_after is not None
    return frames, memory_after


def _roll(
    network: Network,
    inputs: RolloutInputs,
    *,
    leads: int,
    truth: TeacherForcing | None = None,
    at_lead: LeadContext = _no_context,
    memory: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Forecast as ``rollout`` says; return the memory (b, m, y, x) too, if there is one."""
    stated = step_spec_of(network, inputs)
    # A memory has read all frames but the last.
    reading = stated if memory is None else replace(stated, history=1)
    unread = inputs if memory is None else inputs.last_frame()
    _check_frames(reading, unread, leads)
    stepper = make_stepper(network, reading, unread.statics, memory)
    target = unread.target[:, : reading.n_known_frames]
    valid = unread.valid[:, : reading.n_known_frames]
    frames: list[Tensor] = []
    for lead in range(0, leads, reading.emits):
        if frames:
            feedback, feedback_valid = _prepare_feedback(
                reading, unread, frames[-1][:, :, reading.median_index]
            )
            if truth is not None and reading.feeds_back:
                feedback, feedback_valid = truth.replace(
                    lead - reading.emits, feedback, feedback_valid
                )
            target = torch.cat([target, feedback], dim=1)[
                :, reading.emits :
            ]  # (b, known, y, x)
            valid = torch.cat([valid, feedback_valid], dim=1)[
                :, reading.emits :
            ]  # (b, known, y, x)
        forcings = unread.forcings[:, lead : lead + reading.n_frames]
        with at_lead(lead):
            output = stepper(
                _pad_window(target, reading), _pad_window(valid, reading), forcings
            )
        frames.append(_with_frame_axes(output, reading))
    rolled = torch.cat(frames, dim=1)[:, :leads]  # (b, leads, q, y, x)
    return rolled.movedim(2, 0) if reading.quantiles else rolled[:, :, 0], stepper.memory


def step_spec_of(network: Network, inputs: RolloutInputs) -> StepSpec:
    """Return how a network reads; a function that states nothing forecasts the next one."""
    return (
        network.reading
        if isinstance(network, ForecastModel)
        else StepSpec(inputs.target.shape[1])
    )


def _check_frames(reading: StepSpec, inputs: RolloutInputs, leads: int) -> None:
    have = inputs.target.shape[1], inputs.forcings.shape[1]
    needed = reading.history, reading.n_forcing_frames(leads)
    if have[0] != needed[0] or have[1] < needed[1]:
        raise ValueError(
            f"the inputs hold {have[0]} frames of the target and {have[1]} of the forcings but "
            f"{leads} leads of this network read {needed[0]} and {needed[1]}, so dates would "
            "be missing; read the frames that its StepSpec states"
        )


def _with_frame_axes(output: Tensor, reading: StepSpec) -> Tensor:
    """View an output with both axes, of frames and of quantiles (b, e, q, y, x)."""
    return output.reshape(len(output), reading.emits, reading.n_outputs, *output.shape[-2:])


def _prepare_feedback(
    reading: StepSpec, inputs: RolloutInputs, forecast: Tensor
) -> tuple[Tensor, Tensor]:
    """Prepare forecast frames (b, e, y, x) to be read; invalid without feedback."""
    domain = inputs.domain[:, None].expand_as(forecast)  # (b, e, y, x)
    valid = domain if reading.feeds_back else torch.zeros_like(domain)
    return torch.where(valid, forecast, 0.0), valid


def _pad_window(known: Tensor, reading: StepSpec) -> Tensor:
    """Fill up what is known of a window with invalid frames (b, window, y, x)."""
    n_unknown = reading.n_frames - reading.n_known_frames
    padding = known.new_zeros(known.shape[0], n_unknown, *known.shape[2:])
    return torch.cat([known, padding], dim=1) if n_unknown else known


class TeacherForcing(NamedTuple):
    """Observed frames that stand in for forecasts while a network learns to roll."""

    target: Tensor
    """Truth of every lead (b, leads, y, x)."""
    valid: Tensor
    """Where it is known (b, leads, y, x), boolean."""
    is_forced: Tensor
    """Which samples are taught at which lead (b, leads), boolean."""

    def replace(self, first: int, feedback: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Replace the feedback (b, e, y, x) from lead ``first`` on in the forced samples."""
        leads = slice(first, first + feedback.shape[1])
        forced = self.is_forced[:, leads, None, None]
        return (
            torch.where(forced, self.target[:, leads], feedback),
            torch.where(forced, self.valid[:, leads], valid),
        )
